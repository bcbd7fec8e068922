"""Disks fetched and images sent, over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from covey.api.listen import listening
from covey.base.errors import BadInput, Unavailable
from tests.api.flock import VIEWER, Flock, a_client, done
from tests.kit.builders import a_disk, a_snapshot_of, an_instance, an_observed
from tests.kit.eventually import eventually

WEB = an_instance("web1", disks=(a_disk("web1/0", 0),), desired="stopped")
CONTENT = "/v1/instances/web1/disks/0/content"
IMPORT = "/v1/instances/web1/disks/import"
IMAGE = b"an image".ljust(2**20, b"\0")


@pytest.fixture
async def stopped(flock: Flock, root: httpx2.AsyncClient) -> Flock:
    """A cluster with a pool, and an instance that is at rest."""
    node = (await root.get("/v1/nodes")).json()["items"][0]
    pool = flock.inside.view.pool("default")
    disk = replace(WEB.disks[0], pool=pool.id, volume=replace(WEB.disks[0].volume, place=pool.place))
    web = replace(WEB, node=node["id"], disks=(disk,), nics=())
    await flock.put(web, an_observed(web, "stopped"))
    return flock


async def test_a_disk_at_rest_is_fetched_and_who_did_is_kept(stopped: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.get(CONTENT)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"all of qcow2", "12")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert (await root.get(CONTENT, params={"format": "raw"})).content == b"all of raw"

    async def is_told() -> bool:
        events = (await root.get("/v1/events")).json()["items"]
        return "fetches disk 0 of instance web1" in " ".join(each["text"] for each in events if each["kind"] == "disk.export")

    await eventually(is_told)


async def test_a_disk_in_use_is_fetched_as_of_a_snapshot_only(stopped: Flock, root: httpx2.AsyncClient) -> None:
    web = stopped.inside.view.instance("web1")
    frozen, made = a_snapshot_of(replace(web, desired="running"))
    await stopped.put(frozen, an_observed(frozen), *made)
    refused = await root.get(CONTENT)
    assert refused.status_code == 409
    assert "snapshot add web1" in refused.json()["hint"]
    assert (await root.get(CONTENT, params={"snapshot": "first"})).content == b"all of qcow2"
    for path, query in ((CONTENT, {"snapshot": "no"}), (CONTENT.replace("/0/", "/7/"), {"snapshot": "first"})):
        assert (await root.get(path, params=query)).status_code == 404


async def test_a_disk_is_not_fetched_while_a_job_changes_its_instance(stopped: Flock, root: httpx2.AsyncClient) -> None:
    stopped.nodes.slow.add("volume@1")
    answer = await root.post("/v1/instances/web1/disks", json={"size": 2**30})
    await stopped.nodes.begun.wait()
    refused = await root.get(CONTENT)
    assert (refused.status_code, f"job watch {answer.json()['id']}" in refused.json()["hint"]) == (409, True)
    stopped.nodes.go.set()
    await done(root, answer)
    assert (await root.get(CONTENT)).status_code == 200


async def test_what_cannot_be_fetched_is_refused(stopped: Flock, root: httpx2.AsyncClient) -> None:
    assert (await root.get(CONTENT, params={"format": "vmdk"})).status_code == 400
    assert (await root.get(CONTENT.replace("/0/", "/7/"))).status_code == 404
    async with a_client(stopped.app, VIEWER) as viewer:
        assert (await viewer.get(CONTENT)).status_code == 403
        assert (await viewer.post(IMPORT, content=IMAGE)).status_code == 403


async def test_what_breaks_off_is_shorter_than_was_announced(stopped: Flock, tmp_path: Path) -> None:
    stopped.nodes.errors["export"] = Unavailable("the disk is gone", "node n1")
    wire = httpx2.AsyncHTTPTransport(uds=str(tmp_path / "s"))
    door = listening(stopped.app, tmp_path / "s", stopped.inside.closing)
    async with door, httpx2.AsyncClient(transport=wire, base_url="http://covey") as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(CONTENT)


async def test_whoever_goes_away_before_all_was_sent_makes_no_disk(
    stopped: Flock, root: httpx2.AsyncClient, tmp_path: Path
) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield IMAGE
        raise ConnectionError("cut")

    wire = httpx2.AsyncHTTPTransport(uds=str(tmp_path / "s"))
    before = len((await root.get("/v1/jobs")).json()["items"])
    door = listening(stopped.app, tmp_path / "s", stopped.inside.closing)
    async with door, httpx2.AsyncClient(transport=wire, base_url="http://covey") as client:
        with pytest.raises(ConnectionError):
            await client.post(IMPORT, content=cut())
        assert len((await client.get("/v1/jobs")).json()["items"]) == before
    assert stopped.nodes.sent == {}


async def test_an_image_becomes_a_disk(stopped: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post(IMPORT, content=IMAGE)
    assert answer.status_code == 202
    job = await done(root, answer)
    assert job["state"] == "succeeded"
    assert list(stopped.nodes.sent.values()) == [IMAGE]
    assert [disk["index"] for disk in (await root.get("/v1/instances/web1")).json()["disks"]] == [0, 1]


async def test_a_dry_run_reads_nothing(stopped: Flock, root: httpx2.AsyncClient) -> None:
    answer = await root.post(IMPORT, params={"dry_run": "true", "length": str(2**30)})
    assert answer.status_code == 200
    assert "1G" in answer.json()["summary"]
    assert stopped.nodes.sent == {}


async def test_the_impossible_is_refused_before_anything_is_sent(stopped: Flock, root: httpx2.AsyncClient) -> None:
    for query, status in (
        ({"pool": "nowhere"}, 404),
        ({"source_format": "exe"}, 400),
        ({"sha256": "abc"}, 400),
        ({"format": "vdi"}, 400),
        ({"dry_run": "true", "length": str(2**50)}, 409),
    ):
        assert (await root.post(IMPORT, params=query, content=IMAGE)).status_code == status, query
    huge = await root.post(IMPORT, headers={"Content-Length": str(2**50)}, content=IMAGE)
    assert (huge.status_code, huge.headers["connection"]) == (409, "close")
    assert stopped.nodes.sent == {}


async def test_what_its_node_refuses_is_told_and_makes_no_job(stopped: Flock, root: httpx2.AsyncClient) -> None:
    before = len((await root.get("/v1/jobs")).json()["items"])
    stopped.nodes.errors["receive"] = BadInput("it refers to another file", "the image that was sent")
    answer = await root.post(IMPORT, content=IMAGE)
    assert (answer.status_code, answer.json()["detail"]) == (400, "it refers to another file")
    assert len((await root.get("/v1/jobs")).json()["items"]) == before


async def test_an_image_that_came_in_vain_is_not_kept(stopped: Flock, root: httpx2.AsyncClient) -> None:
    """While it came, the last number for a disk was taken."""
    web = stopped.inside.view.instance("web1")

    async def meanwhile() -> AsyncIterator[bytes]:
        yield IMAGE
        full = tuple(replace(web.disks[0], index=index) for index in range(24))
        await stopped.put(replace(web, disks=full))
        await eventually(lambda: len(stopped.inside.view.instance("web1").disks) == 24)

    answer = await root.post(IMPORT, content=meanwhile())
    assert answer.status_code == 409
    assert stopped.nodes.sent == {}


async def test_the_same_image_sent_twice_under_one_key_is_one_disk(stopped: Flock, root: httpx2.AsyncClient) -> None:
    answers = [await root.post(IMPORT, content=IMAGE, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stopped.nodes.sent) == 1
    other = await root.post(IMPORT, content=IMAGE + IMAGE, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409
