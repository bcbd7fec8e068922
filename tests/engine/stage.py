"""A stage for the engine: a store in memory, scripted nodes, virtual time, and plans that a test writes itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from covey.base.errors import CoveyError, NotFound
from covey.controller.lead import take_leadership
from covey.engine.engine import Engine
from covey.engine.ledger import Deposed, Ledger
from covey.model import record as records
from covey.model.job import EndedJob, Job
from covey.model.plan import Plan, Uses
from covey.model.pool import Place, Volume
from covey.model.record import Record
from covey.model.request import Request
from covey.model.requests.node import PingNode
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeSize
from covey.model.steps.instance import EnsureRunning, EnsureStopped
from covey.model.view import ClusterView
from covey.store.feed import Feed
from covey.store.memory import NO_FAULTS, Faults, MemoryData, MemoryStore
from covey.store.protocol import Put
from tests.kit.builders import an_id
from tests.kit.nodes import ScriptedNodes
from tests.kit.virtual import eventually, virtual_clock

WEB = an_id("instance/web1")
N1 = an_id("node/n1")


def undoable(name: str = "web1") -> Step:
    return EnsureRunning(node=N1, instance=an_id(f"instance/{name}"), generation=1)


def forward(name: str = "web1") -> Step:
    return EnsureStopped(node=N1, instance=an_id(f"instance/{name}"))


def in_place(name: str = "web1") -> Step:
    volume = Volume(an_id("volume/1"), Place("file", "/pool"), "qcow2", 1 << 30)
    return EnsureVolumeSize(node=N1, instance=an_id(f"instance/{name}"), disk=0, volume=volume)


def a_plan(*steps: Step, on: str = "", shares: str = "", **parts: Any) -> Plan:
    """A plan that needs the object `on` for itself and shares `shares` with others."""
    return Plan("a plan", steps, Uses((on,) if on else (), (shares,) if shares else ()), **parts)


class Stage:
    """One controller's engine on records that outlive it. `plans` says what each request is planned to, by the name of its node."""

    def __init__(self, data: MemoryData | None = None, faults: Faults = NO_FAULTS, nodes: ScriptedNodes | None = None) -> None:
        self.clock = virtual_clock()
        self.data = data or MemoryData()
        self.store = MemoryStore(self.data, self.clock, faults)
        self.nodes = nodes or ScriptedNodes()
        self.feed = Feed(self.store)
        self.plans: dict[str, Plan | CoveyError | Callable[[ClusterView], Plan]] = {}
        self.planned: list[str] = []
        self.is_deposed = False
        self._running: asyncio.Task[None] | None = None

    async def raise_curtain(self, *there: Record) -> Stage:
        """Lead; `there` are records that exist already."""
        if there:
            self.data.write((), [Put(records.key_of(record), records.to_bytes(record)) for record in there])
        await self.feed.start()
        return await self.lead()

    async def lead(self) -> Stage:
        """With a feed that follows already."""
        leadership, revision = await take_leadership(self.store, self.clock, "test")
        self.ledger = Ledger(self.store, self.clock, leadership, revision)
        self.engine = Engine(self.store, self.feed, self.ledger, self.nodes, self.clock, self._plan)
        self._running = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def _run(self) -> None:
        try:
            await self.engine.run()
        except Deposed:
            self.is_deposed = True

    async def crash(self) -> None:
        """The process dies here."""
        assert self._running
        await self.store.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.feed.close()

    async def successor(self, faults: Faults = NO_FAULTS) -> Stage:
        """The next process, on the same records and nodes, with the same planner."""
        stage = Stage(self.data, faults, self.nodes)
        stage.plans = self.plans
        return await stage.raise_curtain()

    def _plan(self, view: ClusterView, request: Request) -> Plan:
        name = getattr(request, "node", "")
        self.planned.append(name)
        planned = self.plans.get(name, NotFound("nobody wrote a plan for it", name))
        if isinstance(planned, CoveyError):
            raise planned
        return planned if isinstance(planned, Plan) else planned(view)

    async def submit(self, name: str, plan: Plan | CoveyError | Callable[[ClusterView], Plan] | None = None, **about: Any) -> int:
        """Hand in a request of that name, which is planned to `plan`; returns the job's number."""
        if plan is not None:
            self.plans[name] = plan
        about.setdefault("created_at", self.clock.now())
        job, _ = await self.engine.submit(Job(0, PingNode(node=name), "anna", "queued", **about))
        return job.id

    async def submit_all(self, *names: str) -> list[int]:
        """Several at once: the engine sees all of them together."""
        return list(await asyncio.gather(*(self.submit(name) for name in names)))

    # --- looking -------------------------------------------------------------------------------------------------------------------
    def job(self, id: int) -> Job:
        """The job as the store has it, under way or over."""
        entry = self.data.get(f"state/job/{id:010d}")
        if entry is None:
            return self.history(id).job
        job = records.from_bytes(entry.key, entry.value)
        assert isinstance(job, Job)
        return job

    def history(self, id: int) -> EndedJob:
        entry = self.data.get(f"{records.HISTORY}{id:010d}")
        assert entry, f"job {id} is neither under way nor over"
        return records.ended_from_bytes(entry.value)

    def record(self, key: str) -> Any:
        entry = self.data.get(key)
        return records.from_bytes(key, entry.value) if entry else None

    async def ended(self, id: int, within: float = 1000.0) -> Job:
        await eventually(lambda: self.job(id).ended, within, 0.01)
        return self.job(id)

    async def reached(self, id: int, state: str, step: int | None = None) -> Job:
        await eventually(lambda: self.job(id).state == state and step in (None, self.job(id).step), 1000.0, 0.01)
        return self.job(id)

    async def ordered(self, task: str) -> None:
        await eventually(lambda: task in self.nodes.orders, 1000.0, 0.01)

    def left_over(self) -> Sequence[str]:
        """Records of jobs and plans that are still there."""
        return [e.key for e in self.data.list("state/", "", 0, False).entries if e.key.startswith(("state/job/", "state/plan/"))]
