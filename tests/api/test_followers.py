"""A controller that follows answers what it knows and passes on what only the leader can do; its clients notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from covey.api.app import make_app
from covey.api.door import PRINCIPAL
from covey.api.listen import ControllersDoor, listening
from covey.api.news import PATH, Listening
from covey.api.operation import STALE
from covey.base.certificates import ensure_identity
from covey.base.errors import Unavailable
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate
from covey.controller.events import EventLog
from covey.controller.way import way_to
from covey.model.node import Node
from covey.model.order import Progress
from covey.model.timings import Timings
from covey.service.inside import Inside
from covey.service.standing import Standing
from covey.service.tally import Tally
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.memory import MemoryData, MemoryStore
from tests.api.flock import ADMIN, GIB, NODE, VIEWER, AsPeer, Flock, a_client, a_flock, done, initialised
from tests.kit.builders import a_disk, an_instance, an_observed
from tests.kit.eventually import eventually
from tests.kit.ports import free_port

HASTY = Timings(word_every_s=0.05, stale_after_s=0.5, pause_s=0.05, handover_s=0.2)
IMAGE = b"an image".ljust(3 * 2**20, b"\0")
OTHER = "5b2e1d0f-0000-4000-8000-000000000002"  # the follower's node


@dataclass
class Pair:
    """A leader and a follower on the same records. `socket` is the follower's door, `door` the leader's for controllers."""

    leader: Flock
    inside: Inside
    client: httpx2.AsyncClient
    socket: Path
    door: ControllersDoor
    files: CertificateFiles
    silence: contextlib.AsyncExitStack

    async def lose_the_leader(self) -> None:
        self.leader.inside.standing.lead = None
        await self.silence.aclose()


@pytest.fixture(params=["unix", "tls"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    site = tmp_path / "site"
    ensure_server_certificate(site, ("localhost",))
    files = ensure_identity(tmp_path / "other", site, OTHER)
    if request.param == "unix":
        door = ControllersDoor(f"unix:{tmp_path}/c")
    else:
        door = ControllersDoor(f"127.0.0.1:{free_port()}", ensure_identity(tmp_path / "n1", site, NODE))
    data = MemoryData()
    async with a_flock(tmp_path / "leader", data, HASTY) as leader, contextlib.AsyncExitStack() as silence:
        async with a_client(AsPeer(leader.app)) as client:
            await initialised(leader, client)
        await leader.put(Node(OTHER, "n2", 0.0))
        await silence.enter_async_context(listening(leader.app, tmp_path / "l", leader.inside.closing, controllers=door))
        async with (
            _a_follower(leader, tmp_path, data, door, files) as inside,
            listening(make_app(inside), tmp_path / "f", inside.closing),
            httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(uds=str(tmp_path / "f")), base_url="http://covey", timeout=10
            ) as client,
        ):
            yield Pair(leader, inside, client, tmp_path / "f", door, files, silence)


@contextlib.asynccontextmanager
async def _a_follower(
    leader: Flock, directory: Path, data: MemoryData, door: ControllersDoor, files: CertificateFiles
) -> AsyncIterator[Inside]:
    clock, draw = leader.inside.clock, leader.inside.draw
    store = MemoryStore(data, clock)
    feed, history = Feed(store), History(store)
    await feed.start()
    await history.start()
    events = EventLog(directory / "events", feed, history, clock)
    await events.start()
    ways = lambda node, address: way_to(NODE, door.address, files)  # noqa: E731  (the flock's record has a name for its node)
    standing = Standing(feed, clock, node=OTHER, ways=ways, timings=HASTY)
    inside = Inside(feed, history, standing, store, clock, events, draw, Tally(feed, "f"))
    hearing = asyncio.create_task(Listening(inside).run())
    try:
        yield inside
    finally:
        inside.closing.set()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        await standing.close()
        await events.close()
        await history.close()
        await feed.close()
        await store.close()


async def test_a_change_is_the_leaders_and_is_read_here_at_once(pair: Pair) -> None:
    for number in range(10):
        answer = await pair.client.post("/v1/pools", json={"name": f"p{number}", "template": "file", "path": f"/srv/{number}"})
        assert answer.status_code == 202, answer.text
        found = await pair.client.get(answer.headers["location"])
        assert found.status_code == 200, "who was told of a job finds it wherever it asks"
        assert (await done(pair.client, answer))["state"] == "succeeded"
    assert pair.leader.feed.view.pool("p9")
    assert {job["user"] for job in (await pair.client.get("/v1/jobs")).json()["items"]} == {"root"}


async def test_the_answer_is_the_one_that_the_leader_gives(pair: Pair) -> None:
    body = {"name": "p1", "template": "file", "path": "/srv/1"}
    key = {"Idempotency-Key": "k1", "x-request-id": "mine-1"}
    async with a_client(AsPeer(pair.leader.app)) as there:
        for method, path, sent in (
            ("POST", "/v1/pools?dry_run=true", body),
            ("DELETE", "/v1/instances/none", None),
            ("POST", "/v1/pools?dry_rum=true", body),
            ("POST", "/v1/pools", {"wrong": 1}),
            ("GET", "/v1/instances/none/screenshot", None),
        ):
            here, straight = [await client.request(method, path, json=sent, headers=key) for client in (pair.client, there)]
            assert (here.status_code, here.json()) == (straight.status_code, straight.json()), path
            assert {n: v for n, v in here.headers.items() if n != "date"} == dict(straight.headers), path


async def test_an_image_goes_through_whole_and_a_disk_comes_back(pair: Pair) -> None:
    web = an_instance("web1", disks=(a_disk("web1/0", 0),), desired="stopped")
    pool = pair.leader.feed.view.pool("default")
    disk = replace(web.disks[0], pool=pool.id, volume=replace(web.disks[0].volume, place=pool.place))
    web = replace(web, node=NODE, disks=(disk,), nics=())
    await pair.leader.put(web, an_observed(web, "stopped"))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(IMAGE), 100_000):
            yield IMAGE[start : start + 100_000]

    for content in (IMAGE, pieces()):
        pair.leader.nodes.sent.clear()
        answer = await pair.client.post("/v1/instances/web1/disks/import", content=content)
        assert (await done(pair.client, answer))["state"] == "succeeded"
        assert list(pair.leader.nodes.sent.values()) == [IMAGE]
    found = await pair.client.get("/v1/instances/web1/disks/0/content")
    assert (found.content, found.headers["content-length"]) == (b"all of qcow2", "12")
    pair.leader.nodes.errors["export"] = Unavailable("the disk is gone", "node n1")
    with pytest.raises(httpx2.RemoteProtocolError):
        await pair.client.get("/v1/instances/web1/disks/0/content")


async def test_what_is_refused_before_all_of_it_was_sent_is_refused_here_too(pair: Pair) -> None:
    answer = await pair.client.post("/v1/instances/none/disks/import", content=IMAGE)
    assert (answer.status_code, answer.json()["title"]) == (404, "NotFound")
    answer = await pair.client.post("/v1/pools", content=b"x" * 2**21)
    assert answer.status_code == 413


async def test_a_job_is_followed_to_its_end_at_any_door(pair: Pair) -> None:
    pair.leader.nodes.slow.add("pool@1")
    answer = await pair.client.post("/v1/pools", json={"name": "p1", "template": "file", "path": "/srv/1"})
    seen: list[str] = []
    async with pair.client.stream("GET", f"{answer.headers['location']}/stream") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")).get("state", "progress"))
                pair.leader.nodes.go.set()
    assert seen[-1] == "succeeded"


async def test_many_at_once_are_passed_on(pair: Pair) -> None:
    """More than a client's pool of connections usually takes."""
    pair.leader.nodes.slow.add("pool@1")
    body = {"name": "p1", "template": "file", "path": "/srv/1"}
    answers = await asyncio.gather(*(pair.client.post("/v1/pools?dry_run=true", json=body) for _ in range(150)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_console_works_both_ways_and_its_refusal_is_the_leaders(pair: Pair) -> None:
    await pair.leader.put(an_instance("web1"))
    async with unix_connect(str(pair.socket), "ws://covey/v1/instances/web1/console") as console:
        assert await console.recv() == b"login: "
        await console.send(b"hello")
        assert await console.recv() == b"HELLO"
        await console.send(b"exit")
        with pytest.raises(ConnectionClosedOK):
            await console.recv()
    with pytest.raises(InvalidStatus) as raised:
        async with unix_connect(str(pair.socket), "ws://covey/v1/instances/none/console"):
            pass
    assert raised.value.response.status_code == 404
    assert json.loads(raised.value.response.body)["title"] == "NotFound"


async def test_who_asks_is_found_out_here_and_believed_there(pair: Pair) -> None:
    body = {"name": "p1", "template": "file", "path": "/srv/1"}
    app = make_app(pair.inside)
    async with a_client(app, VIEWER) as viewer, a_client(app, ADMIN) as boss, a_client(app) as nobody:
        assert (await viewer.post("/v1/pools", json=body)).status_code == 403
        forged = {PRINCIPAL: '["boss", "admin"]'}
        assert (await nobody.post("/v1/pools", json=body, headers=forged)).status_code == 401
        assert (await viewer.post("/v1/pools", json=body, headers=forged)).status_code == 403
        assert (await done(pair.client, await boss.post("/v1/pools", json=body)))["user"] == "boss"


@pytest.mark.parametrize("pair", ["tls"], indirect=True)
async def test_nobody_but_a_controller_of_the_cluster_comes_in_by_its_door(pair: Pair, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    ensure_server_certificate(stranger, ("localhost",))
    wrong = ensure_identity(tmp_path / "elsewhere", stranger, OTHER)
    removed = ensure_identity(tmp_path / "removed", tmp_path / "site", OTHER.replace("2", "3"))
    of_the_api = ensure_server_certificate(tmp_path / "site", ("localhost",))
    for files, refused in ((wrong, None), (removed, 401), (of_the_api, 401), (pair.files, 200)):
        way = way_to(
            NODE, pair.door.address, files if files is not wrong else CertificateFiles(wrong[0], wrong[1], pair.files.ca)
        )
        try:
            answer = await way.client.get("/v1/status", headers={PRINCIPAL: '["anna", "admin"]'})
        except (httpx2.HTTPError, ssl.SSLError):
            assert refused is None
        else:
            assert answer.status_code == refused
        await way.close()
    way = way_to(OTHER, pair.door.address, pair.files)
    with pytest.raises((httpx2.HTTPError, ssl.SSLError)):
        await way.client.get("/v1/status")  # there is somebody else than was asked for
    await way.close()


async def test_a_request_is_passed_on_once(pair: Pair, tmp_path: Path) -> None:
    """A leader that lost the lead refuses; it sends nobody further, though it may know whom."""
    pair.leader.inside.standing.lead = None
    answer = await pair.client.post("/v1/pools", json={"name": "p1", "template": "file", "path": "/srv/1"})
    assert answer.status_code == 503
    assert "nobody leads" in answer.json()["detail"]


async def test_telemetry_comes_from_the_leader_as_it_changes(pair: Pair) -> None:
    def is_the_same() -> bool:
        return dict(pair.inside.view.telemetry) == dict(pair.leader.feed.view.telemetry)

    await eventually(lambda: NODE in pair.inside.view.telemetry)
    await eventually(is_the_same)
    pair.leader.tell(memory_free=3 * GIB, as_of=1_800_000_100.0)
    await eventually(is_the_same)
    assert pair.inside.view.telemetry[NODE].as_of == 1_800_000_100.0
    pair.leader.feed.tell(NODE, None)
    await eventually(lambda: not pair.inside.view.telemetry)


async def test_progress_and_what_a_job_waits_for_are_shown_here_too(pair: Pair) -> None:
    pair.leader.nodes.slow.add("pool@1")
    body = {"name": "p1", "template": "file", "path": "/srv/1"}
    first = (await pair.client.post("/v1/pools", json=body)).json()["id"]
    await pair.leader.nodes.begun.wait()
    second = (await pair.client.delete("/v1/pools/p1")).json().get("id")
    pair.leader.nodes.progress[first] = Progress(f"{first}.0", "making it", 1, 2)

    async def is_told() -> bool:
        return bool((await pair.client.get(f"/v1/jobs/{first}")).json()["progress"])

    await eventually(is_told)
    if second:
        blocked = (await pair.client.get(f"/v1/jobs/{second}")).json()["blocked"]
        assert blocked is None or blocked["by"] == first
    pair.leader.nodes.go.set()


async def test_without_a_leader_reads_go_on_and_say_how_old_they_are(pair: Pair) -> None:
    await eventually(lambda: NODE in pair.inside.view.telemetry)
    fresh = await pair.client.get("/v1/pools")
    assert STALE not in fresh.headers
    await pair.lose_the_leader()
    await eventually(lambda: pair.inside.standing.stale_as_of)
    stale = await pair.client.get("/v1/pools")
    assert (stale.status_code, stale.json()) == (200, fresh.json())
    assert stale.headers[STALE].startswith("20")
    status = (await pair.client.get("/v1/status")).json()
    assert status["as_of"] == stale.headers[STALE]
    assert any("may be old" in finding["what"] for finding in status["findings"])
    refused = await pair.client.post("/v1/pools", json={"name": "p1", "template": "file", "path": "/srv/1"})
    problem = refused.json()
    assert (refused.status_code, problem["title"]) == (503, "Unavailable")
    assert "nobody leads" in problem["detail"] and "try again" in problem["hint"]


async def test_news_are_for_controllers(pair: Pair) -> None:
    assert (await pair.client.get(PATH)).status_code == 404
