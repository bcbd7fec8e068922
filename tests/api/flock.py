"""Everything inside the API for tests: a real engine on a store in memory, and nodes that carry out whatever they are told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from covey.api.app import make_app
from covey.api.door import PEER
from covey.base.clock import SystemClock
from covey.base.errors import CoveyError, Unavailable
from covey.controller.events import EventLog
from covey.controller.lead import take_leadership
from covey.engine.engine import Engine
from covey.engine.ledger import Ledger
from covey.model import record as records
from covey.model.instance import Instance, Observed
from covey.model.node import Telemetry
from covey.model.order import Epoch, Inventory, Outcome, Progress
from covey.model.pool import Place, Pool, Space, Volume
from covey.model.step import Step, step_kinds
from covey.model.steps.instance import EnsureRunning
from covey.model.timings import USUAL, Timings
from covey.model.token import Token
from covey.model.transfer import Content, Found
from covey.planner import plan
from covey.service.access import digest_of
from covey.service.inside import Inside
from covey.service.nodes import Terminal
from covey.service.standing import Lead, Standing
from covey.service.tally import Tally
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Put

GIB = 2**30
NODE = "6a1f0c0e-6c2b-4c86-9a51-6f1f4b1d2a70"
ADMIN = "a" * 64
VIEWER = "b" * 64
EXPIRED = "c" * 64
EMPTY = Inventory((), (), (), (), (), ())


class Echo:
    """A terminal that says back what is typed, until "exit"."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.pieces.put_nowait(b"login: ")

    async def read(self) -> bytes:
        return await self.pieces.get()

    async def write(self, data: bytes) -> None:
        self.pieces.put_nowait(b"" if data == b"exit" else data.upper())


@dataclass
class WillingNodes:
    """Carries out at once; `errors` by kind of step make it fail, `slow` kinds wait for `go`."""

    progress: dict[int, Progress] = field(default_factory=dict)
    inventories: dict[str, Inventory] = field(default_factory=dict)
    errors: dict[str, CoveyError] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)  # of guests
    sent: dict[str, bytes] = field(default_factory=dict)  # images, by upload
    seen_secrets: deque[dict[str, str]] = field(default_factory=deque)

    async def carry_out(
        self, node: str, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool = False
    ) -> Outcome:
        if secrets:
            self.seen_secrets.append(secrets)
        if step.kind in self.slow and not undo:
            self.begun.set()
            await self.go.wait()
        error = None if undo else self.errors.get(step.kind)
        return Outcome(id, dict(_result(step)), error.to_json() if error else None, "done\n")

    def acknowledge(self, node: str, task: str) -> None:
        pass

    async def console_tail(self, node: str, instance: str) -> str:
        return ""

    async def inventory(self, node: str) -> Inventory:
        if node not in self.inventories:
            raise Unavailable("its agent does not answer", f"node {node}")
        return self.inventories[node]

    @contextlib.asynccontextmanager
    async def console(self, node: str, instance: str) -> AsyncIterator[Terminal]:
        yield Echo()

    async def ask_guest(
        self, node: str, instance: str, verb: str, wish: Mapping[str, Any], timeout_s: float
    ) -> Mapping[str, Any]:
        self.asked.append((verb, wish))
        if verb in self.errors:
            raise self.errors[verb]
        return _INSIDE[verb]

    async def screenshot(self, node: str, instance: str) -> bytes:
        return b"\x89PNG..."

    async def receive(
        self, node: str, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]
    ) -> Found:
        self.sent[upload] = b"".join([piece async for piece in pieces])
        if "receive" in self.errors:
            raise self.errors["receive"]
        return Found("raw", max(len(self.sent[upload]), 2**20), 2**20, len(self.sent[upload]), "0" * 64)

    async def discard(self, node: str, place: Place, upload: str) -> None:
        del self.sent[upload]

    @contextlib.asynccontextmanager
    async def export(self, node: str, volume: Volume, format: str) -> AsyncIterator[Content]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"all of "
            if "export" in self.errors:
                raise self.errors["export"]
            yield format.encode()

        yield Content(len(b"all of " + format.encode()), pieces())

    async def console_log(self, node: str, instance: str, size: int) -> bytes:
        return b"Booting\r\nlogin: "[-size:]


_INSIDE: Mapping[str, Mapping[str, Any]] = {
    "facts": {"hostname": "web1", "system": "Debian", "kernel": "6.1", "interfaces": [], "file_systems": []},
    "run": {"status": 3, "signal": 0, "stdout": "aGkK", "stderr": "", "cut": False},
    "password": {},
    "keys": {},
}
_RESULTS: Mapping[str, dict[str, Any]] = {
    "accelerator@1": {"accelerator": "tcg", "why": "asked for"},
    "image-fetched@1": {"format": "qcow2", "size": GIB, "file_size": GIB // 2, "sha256": "0" * 64},
    "image-built@1": {"format": "qcow2", "size": GIB, "file_size": GIB // 2, "sha256": "0" * 64},
    "volume@1": {"size": GIB},
    "volume-size@1": {"size": GIB},
    "running@1": {"pid": 4711},
    "generation@1": {"pid": 4711},
    "asked-to-stop@1": {"stopped": True},
    "stopped@1": {"cut": False},
    "volumes-found@1": {"used": GIB},
}


def _result(step: Step) -> dict[str, Any]:
    """What a willing node returns: a guest runs as the generation that was ordered."""
    return {**_RESULTS.get(step.kind, {}), **({"generation": step.generation} if isinstance(step, EnsureRunning) else {})}


@dataclass
class Flock:
    inside: Inside
    store: MemoryStore
    nodes: WillingNodes
    feed: Feed
    app: Any

    async def put(self, *written: records.Record) -> None:
        """Write records past the engine, as another process would."""
        await self.feed.reached(await self.store.txn([], [Put(records.key_of(one), records.to_bytes(one)) for one in written]))

    def tell(self, **changes: Any) -> None:
        """What the node says of itself: room in every pool."""
        self.feed.tell(NODE, a_telemetry(self.feed, **changes))


def a_telemetry(feed: Feed, **changes: Any) -> Telemetry:
    pools = {pool.id: Space(1000 * GIB, 800 * GIB) for pool in feed.view.all("pool", Pool)}
    usual: dict[str, Any] = {
        "as_of": 1_800_000_000.0,
        "hostname": "n1",
        "kinds": tuple(step_kinds()),
        "cpus": 8,
        "memory": 64 * GIB,
        "memory_free": 60 * GIB,
        "pools": pools,
        "pool_path": "/var/lib/covey/pool",
    }
    return Telemetry(**{**usual, **changes})


@contextlib.asynccontextmanager
async def a_flock(directory: Path, data: MemoryData | None = None, timings: Timings = USUAL) -> AsyncIterator[Flock]:
    """Not yet a cluster: see `initialised`."""
    clock = SystemClock()
    store = MemoryStore(data or MemoryData(), clock)
    leadership, revision = await take_leadership(store, clock, "n1")
    feed, history, nodes = Feed(store), History(store), WillingNodes()
    await feed.start()
    await history.start()
    events = EventLog(directory / "events", feed, history, clock)
    await events.start()
    engine = Engine(store, feed, Ledger(store, clock, leadership, revision), nodes, clock, plan)
    counter = itertools.count(1)
    inside = Inside(
        feed,
        history,
        Standing(feed, clock, Lead(engine, nodes), timings=timings),
        store,
        clock,
        events,
        lambda size: f"{next(counter):0{size * 2}x}",
        Tally(feed, "t"),
    )
    flock = Flock(inside, store, nodes, feed, make_app(inside))
    flock.tell()
    running = asyncio.create_task(engine.run())
    try:
        yield flock
    finally:
        inside.closing.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await events.close()
        await history.close()
        await feed.close()
        await store.close()


async def initialised(flock: Flock, client: httpx2.AsyncClient) -> None:
    """Make the cluster, and three tokens: an admin's, a viewer's, and one that has expired."""
    answer = await client.post("/v1/cluster", json={"name": "flock", "accelerator": "tcg", "node_name": "n1"})
    assert answer.status_code == 202, answer.text
    ended = await client.get(f"{answer.headers['location']}?wait_s=10")
    assert ended.json()["state"] == "succeeded", ended.text
    flock.tell()
    flock.nodes.inventories[NODE] = EMPTY
    now = flock.inside.clock.now()
    await flock.put(
        Token("boss", "admin", digest_of(ADMIN), now),
        Token("eye", "viewer", digest_of(VIEWER), now),
        Token("gone", "admin", digest_of(EXPIRED), now - 20, now - 10),
    )


class AsPeer:
    """The app as its unix socket offers it: with the uid of who is at the other end."""

    def __init__(self, app: Any, uid: int = 0) -> None:
        self._app = app
        self._uid = uid

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {PEER: self._uid}
        await self._app(scope, receive, send)


def a_client(app: Any, secret: str = "") -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://covey", headers=headers)


async def done(client: httpx2.AsyncClient, answer: httpx2.Response) -> dict[str, Any]:
    """The job of an answer, once it has ended."""
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = (await client.get(f"/v1/jobs/{answer.json()['id']}?wait_s=10")).json()
    return job


async def run_it(flock: Flock, instance: Instance, state: str = "running") -> None:
    """Let an instance be seen in a state."""
    await flock.put(Observed(instance.id, state, flock.inside.clock.now(), generation=instance.generation, pid=4711))
