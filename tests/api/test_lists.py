"""Lists: complete, cut into pages, filtered, and cheap to ask again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from pydantic import TypeAdapter

from covey.api import documents
from covey.model.node import InstanceUse
from tests.api.flock import NODE, Flock, run_it
from tests.kit.builders import a_disk, a_network, a_nic, an_instance, an_observed

NAMES = [f"web{number}" for number in range(7)]


@pytest.fixture
async def seven(flock: Flock) -> AsyncIterator[Flock]:
    for name in NAMES:
        instance = an_instance(name, node=NODE, tags=("even",) if int(name[3:]) % 2 == 0 else (), memory=2**30 + int(name[3:]))
        await flock.put(instance, an_observed(instance))
    yield flock


@pytest.mark.parametrize("collection", ["disks", "nics"])
async def test_parts_of_all_instances_are_a_list_in_pages(flock: Flock, root: httpx2.AsyncClient, collection: str) -> None:
    lan = a_network()
    parts = [(f"web{one}", index) for one in (1, 2, 10) for index in (0, 1)]
    of = {name: [index for other, index in parts if other == name] for name, _ in parts}
    instances = [
        an_instance(
            name,
            node=NODE,
            disks=tuple(a_disk(f"{name}/{index}", index) for index in own),
            nics=tuple(a_nic(index, 10 * number + index) for index in own),
        )
        for number, (name, own) in enumerate(of.items(), 1)
    ]
    await flock.put(lan, *instances)
    whole = (await root.get(f"/v1/{collection}")).json()
    model = documents.InstanceDiskDocument if collection == "disks" else documents.InstanceNicDocument
    TypeAdapter(list[model]).validate_python(whole["items"])  # type: ignore[valid-type]
    found: list[dict[str, object]] = []
    after: str | None = ""
    while after is not None:
        page = (await root.get(f"/v1/{collection}", params={"limit": 4, "after": after})).json()
        found, after = [*found, *page["items"]], page["next"]
    assert found == whole["items"]
    assert [(item["instance"], item["index"]) for item in found] == sorted(parts)
    few = (await root.get(f"/v1/{collection}", params={"filter": "instance=web1 index=1", "fields": "instance,node"})).json()
    assert few["items"] == [{"instance": "web1", "node": "n1"}]
    assert (await root.get(f"/v1/{collection}", params={"after": "web1"})).status_code == 400


async def test_pages_together_are_the_list(seven: Flock, root: httpx2.AsyncClient) -> None:
    found: list[str] = []
    after = ""
    while True:
        page = (await root.get("/v1/instances", params={"limit": 3, "after": after})).json()
        found += [item["name"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert found == NAMES


async def test_a_page_that_ends_with_the_list_has_no_next(seven: Flock, root: httpx2.AsyncClient) -> None:
    assert (await root.get("/v1/instances?limit=7")).json()["next"] is None
    assert (await root.get("/v1/instances?filter=tag=even&limit=4")).json()["next"] is None


async def test_filtered_pages_hold_what_the_filter_holds(seven: Flock, root: httpx2.AsyncClient) -> None:
    first = (await root.get("/v1/instances?filter=tag=even&limit=2&fields=name")).json()
    assert first["items"] == [{"name": "web0"}, {"name": "web2"}]
    second = (await root.get(f"/v1/instances?filter=tag=even&limit=9&fields=name&after={first['next']}")).json()
    assert second["items"] == [{"name": "web4"}, {"name": "web6"}]


async def test_numbers_are_compared_as_numbers(seven: Flock, root: httpx2.AsyncClient) -> None:
    found = (await root.get("/v1/instances", params={"filter": "memory>1073741828", "fields": "name"})).json()
    assert [item["name"] for item in found["items"]] == ["web5", "web6"]


async def test_an_unchanged_list_is_not_sent_again(seven: Flock, root: httpx2.AsyncClient) -> None:
    first = await root.get("/v1/instances")
    again = await root.get("/v1/instances", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_every_change_of_what_a_list_shows_changes_its_etag(seven: Flock, root: httpx2.AsyncClient) -> None:
    async def etag(fields: str = "") -> str:
        return str((await root.get(f"/v1/instances?fields={fields}")).headers["etag"])

    seen = [await etag()]
    instance = seven.feed.view.instance("web1")
    await run_it(seven, instance, "crashed")
    seen.append(await etag())
    seven.tell(instances={instance.id: InstanceUse(5.0, 2**20)})
    seen.append(await etag())
    seven.feed.tell(NODE, None)
    seen.append(await etag())
    assert len(set(seen)) == 4


async def test_telemetry_does_not_change_a_list_that_does_not_show_it(seven: Flock, root: httpx2.AsyncClient) -> None:
    first = (await root.get("/v1/instances?fields=name,state")).headers["etag"]
    seven.tell(cpu_percent=99.0)
    assert (await root.get("/v1/instances?fields=name,state")).headers["etag"] == first


async def test_live_numbers_are_in_lists_single_documents_and_filters(seven: Flock, root: httpx2.AsyncClient) -> None:
    instance = seven.feed.view.instance("web1")
    seven.tell(instances={instance.id: InstanceUse(12.5, 2**20)})
    for path in ("/v1/instances?filter=name=web1", "/v1/instances?filter=cpu_percent>10&fields=name,cpu_percent,memory_used"):
        item = (await root.get(path)).json()["items"]
        assert [(one["name"], one["cpu_percent"], one["memory_used"]) for one in item] == [("web1", 12.5, 2**20)]
    single = (await root.get("/v1/instances/web1")).json()
    assert single in (await root.get("/v1/instances")).json()["items"]


async def test_what_its_node_does_not_answer_for_is_remarked(seven: Flock, root: httpx2.AsyncClient) -> None:
    assert (await root.get("/v1/instances/web1")).json()["remark"] == ""
    seven.feed.tell(NODE, None)
    assert (await root.get("/v1/instances/web1")).json()["remark"] == "n1 does not answer"


async def test_a_client_reads_what_it_wrote(seven: Flock, root: httpx2.AsyncClient) -> None:
    revision = (await root.get("/v1/instances")).json()["revision"]
    assert (await root.get(f"/v1/instances?at_least={revision}")).status_code == 200


async def test_jobs_are_listed_newest_first_running_and_ended(seven: Flock, root: httpx2.AsyncClient) -> None:
    for _ in range(5):
        answer = await root.post("/v1/nodes/n1/ping")
    await root.get(f"/v1/jobs/{answer.json()['id']}?wait_s=5")
    seven.nodes.slow.add("answer@1")
    running = (await root.post("/v1/nodes/n1/ping")).json()["id"]
    await seven.nodes.begun.wait()
    jobs = (await root.get("/v1/jobs")).json()["items"]
    assert [job["id"] for job in jobs] == list(range(running, 0, -1))
    assert jobs[0]["state"] == "running" and jobs[0]["steps"][0]["state"] == "running"
    assert {job["state"] for job in jobs[1:]} == {"succeeded"}
    first = (await root.get("/v1/jobs?limit=2&fields=id,state")).json()
    second = (await root.get(f"/v1/jobs?limit=100&after={first['next']}&fields=id")).json()
    assert [job["id"] for job in [*first["items"], *second["items"]]] == list(range(running, 0, -1))
    seven.nodes.go.set()


async def test_jobs_are_found_by_what_they_are_about(seven: Flock, root: httpx2.AsyncClient) -> None:
    await root.post("/v1/nodes/n1/ping")
    for wanted in ("kind=node.ping", "object=n1", "object=node*", "user=root kind=node.*", "title=*ping*"):
        found = (await root.get("/v1/jobs", params={"filter": wanted})).json()["items"]
        assert [job["title"] for job in found] == ["node ping n1"], wanted
    assert (await root.get("/v1/jobs?filter=state=failed")).json()["items"] == []
