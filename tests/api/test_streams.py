"""Jobs and events as they happen; consoles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from covey.api.listen import listening
from covey.model.order import Progress
from tests.api.flock import GIB, Flock, a_flock
from tests.kit.builders import an_instance


@pytest.fixture
async def socket(flock: Flock, tmp_path: Path) -> AsyncIterator[Path]:
    async with listening(flock.app, tmp_path / "s", flock.inside.closing):
        yield tmp_path / "s"


@pytest.fixture
async def client(socket: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://covey", timeout=10
    ) as client:
        yield client


@asynccontextmanager
async def following(client: httpx2.AsyncClient, path: str, last: str = "") -> AsyncIterator[AsyncIterator[tuple[str, Any, str]]]:
    """The events of a stream: name, data and id."""
    headers = {"last-event-id": last} if last else {}
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def events() -> AsyncIterator[tuple[str, Any, str]]:
            seen: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(":")
                    seen[name] = value.strip()
                elif "data" in seen:
                    yield seen["event"], json.loads(seen["data"]), seen.get("id", "")
                    seen = {}
                else:
                    seen = {}

        yield events()


async def test_a_job_is_followed_to_its_end(flock: Flock, client: httpx2.AsyncClient) -> None:
    flock.nodes.slow.add("volume@1")
    id = (await client.post("/v1/instances", json={"name": "web1", "disks": [{"size": GIB}]})).json()["id"]
    await flock.nodes.begun.wait()
    states: list[str] = []
    told: list[Any] = []
    async with following(client, f"/v1/jobs/{id}/stream") as events:
        async for name, data, _ in events:
            if name == "job":
                states.append(data["state"])
                flock.nodes.progress[id] = Progress(f"{id}.0", "copying", 3, 10)
            else:
                told.append(data)
                flock.nodes.go.set()
    assert states[0] == "running" and states[-1] == "succeeded"
    assert told[0] == {"step": 1, "text": "copying", "done": 3, "total": 10}


async def test_the_stream_of_a_job_that_has_ended_says_so_and_ends(flock: Flock, client: httpx2.AsyncClient) -> None:
    async with following(client, "/v1/jobs/1/stream") as events:
        seen = [(name, data["state"]) async for name, data, _ in events]
    assert seen == [("job", "succeeded")]


async def test_who_waits_for_a_job_is_answered_when_it_ends(flock: Flock, client: httpx2.AsyncClient) -> None:
    flock.nodes.slow.add("answer@1")
    id = (await client.post("/v1/nodes/n1/ping")).json()["id"]
    early = (await client.get(f"/v1/jobs/{id}?wait_s=0.05")).json()
    assert early["state"] in ("queued", "running")
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{id}?wait_s=30"))
    await flock.nodes.begun.wait()
    flock.nodes.go.set()
    assert (await waiting).json()["state"] == "succeeded"


async def test_events_come_as_they_happen_and_can_be_taken_up_again(flock: Flock, client: httpx2.AsyncClient) -> None:
    async with following(client, "/v1/events/stream") as events:
        await client.post("/v1/networks", json={"name": "lan", "subnet": "10.77.0.0/24"})
        first = await anext(events)
        assert (first[0], first[1]["text"]) == ("event", "network lan was made")
        assert first[2] == first[1]["cursor"]
    async with following(client, "/v1/events/stream", last=first[2]) as events:
        assert (await anext(events))[1]["kind"] == "job.succeeded"


async def test_a_cursor_that_is_too_old_is_answered_with_reset(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events-00000002.jsonl").write_text(
        '[[1, 0, 7], 1.0, "node.made", "node n0", "node n0 was made", 0]\n'
    )
    async with (
        a_flock(tmp_path) as flock,
        listening(flock.app, tmp_path / "s", flock.inside.closing),
        httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(tmp_path / "s")), base_url="http://covey") as client,
        following(client, "/v1/events/stream", last="1.0.6") as events,
    ):
        name, data, id = await anext(events)
        assert (name, data["cursor"], id) == ("reset", "1.0.7", "1.0.7")
        assert (await client.get("/v1/events?since=1.0.6")).status_code == 409


async def test_events_are_listed_by_time_and_by_cursor(flock: Flock, client: httpx2.AsyncClient) -> None:
    everything = (await client.get("/v1/events")).json()
    texts = [event["text"] for event in everything["items"]]
    assert "cluster flock was made" in texts
    cursor = everything["items"][0]["cursor"]
    later = (await client.get("/v1/events", params={"since": cursor})).json()["items"]
    assert later == everything["items"][1:]
    assert (await client.get("/v1/events?since=2099-01-01T00:00:00Z")).json() == {"items": [], "next": None}
    assert len((await client.get("/v1/events?limit=2")).json()["items"]) == 2
    jobs = (await client.get("/v1/events?filter=kind=job.*")).json()["items"]
    assert [event["job"] for event in jobs] == [1]


async def test_a_console_shows_what_was_printed_then_takes_what_is_typed(flock: Flock, socket: Path) -> None:
    await flock.put(an_instance("web1"))
    async with unix_connect(str(socket), "ws://covey/v1/instances/web1/console") as console:
        assert await console.recv() == b"login: "
        await console.send(b"hello")
        assert await console.recv() == b"HELLO"
        await console.send(b"exit")
        with pytest.raises(ConnectionClosedOK):
            await console.recv()


async def test_a_console_that_is_not_there_is_an_http_error(flock: Flock, socket: Path) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with unix_connect(str(socket), "ws://covey/v1/instances/none/console"):
            pass
    assert raised.value.response.status_code == 404
    assert json.loads(raised.value.response.body)["title"] == "NotFound"


async def test_what_a_guest_printed_can_be_read(flock: Flock, client: httpx2.AsyncClient) -> None:
    await flock.put(an_instance("web1"))
    answer = await client.get("/v1/instances/web1/console/log?bytes=7")
    assert (answer.text, answer.headers["content-type"]) == ("login: ", "text/plain; charset=utf-8")
