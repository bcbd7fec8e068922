"""The healer: what should run and does not is started again, with back-off; what an undo had to leave is taken back later (P5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.engine.engine import Engine
from covey.engine.ledger import Ledger
from covey.engine.nodes import Nodes
from covey.model import record as records
from covey.model.instance import Instance, Observed
from covey.model.job import Debris, Job
from covey.model.node import Node
from covey.model.requests.instance import StartInstance
from covey.model.requests.move import ClearNode
from covey.model.requests.node import EquipNode
from covey.model.requests.repair import RepairNetwork
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolume, EnsureVolumeBrought
from covey.model.steps.firewall import EnsureFirewall
from covey.model.steps.image import EnsureImageBuilt, EnsureImageFetched
from covey.model.steps.instance import EnsureDefined, EnsureSeed
from covey.model.steps.network import EnsureNetwork, EnsureRouted
from covey.model.steps.nic import EnsureFiltered, EnsureNicSet
from covey.model.steps.node import EnsureListening
from covey.model.steps.pool import EnsurePool
from covey.model.view import ClusterView
from covey.planner.clearing import clearable
from covey.planner.filters import filters_of
from covey.planner.instance.parts import domain_nic
from covey.store.feed import Changes, Feed
from covey.store.protocol import Delete, Unmet

USER = "covey"
PRIORITY = 10  # healing goes first (P1)
LOOK_EVERY_S = 5.0
FAILED_PAUSE_S = 60.0  # before a start that failed is tried again
DEBRIS_EVERY_S = 30.0
OBSERVED = "state/observed/"
NODE = "state/node/"
STALE = "state/stale/"
DOWN = ("crashed", "stopped", "missing")
log = structlog.get_logger()


class Healer:
    def __init__(self, feed: Feed, engine: Engine, ledger: Ledger, nodes: Nodes, clock: Clock, draw: Callable[[], str]) -> None:
        """`draw` gives 32 random hex digits, the seed of a request (P6)."""
        self._feed = feed
        self._engine = engine
        self._ledger = ledger
        self._nodes = nodes
        self._clock = clock
        self._draw = draw
        self._not_before: dict[str, float] = {}
        self._down: set[str] = set()  # ids of instances seen down: a change among thousands costs no look at all of them
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self._feed.listen(self._on_change)
        self._down = {observed.id for observed in self._feed.view.all("observed", Observed) if observed.state in DOWN}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._restart(), name="restarts")
                group.create_task(self._clear_debris(), name="debris")
        finally:
            self._feed.ignore(self._on_change)

    async def _restart(self) -> None:
        while True:
            await self._sleep(await self._heal())

    def _on_change(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if before.telemetry.keys() != after.telemetry.keys():
            self._wake.set()
        for key, _ in changes:
            if key.startswith(OBSERVED):
                self._wake.set()
                instance = key.removeprefix(OBSERVED)
                state = after.observed(instance).state
                if state in DOWN:
                    self._down.add(instance)
                else:
                    self._down.discard(instance)
                if state == "running":  # that start did not fail: the next crash has a pause of its own
                    self._not_before.pop(instance, None)
            elif key.startswith("state/job/"):
                self._wake.set()
            elif key.startswith(STALE):
                self._wake.set()
                self._not_before.pop(f"clear/{key.rpartition('.')[2]}", None)
            elif key.startswith(NODE):
                self._wake.set()
                self._not_before.pop(key.removeprefix(NODE), None)  # it is another one: what failed before may work now

    async def _sleep(self, seconds: float) -> None:
        waiter = asyncio.ensure_future(self._wake.wait())
        expiry = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({waiter, expiry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            expiry.cancel()
        self._wake.clear()

    async def _heal(self) -> float:
        """Start what should run; returns the seconds until something may be due."""
        if self._feed.view.is_reconciling:
            return LOOK_EVERY_S
        now = self._clock.now()
        wait = LOOK_EVERY_S
        for instance, at in to_restart(self._feed.view, sorted(self._down)):
            at = max(at, self._not_before.get(instance.id, 0.0))
            if at > now:
                wait = min(wait, at - now)
                continue
            self._not_before[instance.id] = now + FAILED_PAUSE_S
            state = self._feed.view.observed(instance.id).state
            await self._submit(StartInstance(instance=instance.name, seed=self._draw(), now=now), f"it is {state} and should run")
        for node in to_equip(self._feed.view):
            if self._not_before.get(node.id, 0.0) <= now:
                self._not_before[node.id] = now + FAILED_PAUSE_S
                why = "it joins" if node.state == "joining" else "it was away while the others changed"
                await self._submit(EquipNode(node=node.name, seed=self._draw(), now=now), why)
        for node in to_clear(self._feed.view):
            if self._not_before.get(f"clear/{node.id}", 0.0) <= now:
                self._not_before[f"clear/{node.id}"] = now + FAILED_PAUSE_S
                await self._submit(ClearNode(node=node.name, seed=self._draw(), now=now), "instances were moved away")
        return max(wait, 0.05)

    async def repair_networks(self, broken: list[str]) -> None:
        """After a restart of a machine its bridges are gone: make them again, before guests need them."""
        for network in () if self._feed.view.is_reconciling else broken:
            request = RepairNetwork(network=network, seed=self._draw(), now=self._clock.now())
            await self._submit(request, "its bridge or rules are not as recorded")

    async def _submit(self, request: StartInstance | RepairNetwork | EquipNode | ClearNode, why: str) -> None:
        job = Job(0, request, USER, "queued", self._clock.now(), reason=why, priority=PRIORITY)
        try:
            await self._engine.submit(job)
        except CoveyError as error:
            log.warning("could not heal; trying again", what=request.title, error=str(error))

    # --- debris --------------------------------------------------------------------------------------------------------------------
    async def _clear_debris(self) -> None:
        """One task each: a node that does not answer holds up nothing but what it has itself."""
        clearing: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for id in [id for id, task in clearing.items() if task.done()]:
                    clearing.pop(id).result()  # raises Deposed
                for debris in () if self._feed.view.is_reconciling else over_and_left(self._feed.view):
                    if debris.id not in clearing:
                        clearing[debris.id] = asyncio.create_task(self._clear(debris), name=f"debris {debris.id}")
                await self._clock.sleep(DEBRIS_EVERY_S)
        finally:
            for task in clearing.values():
                task.cancel()
            await asyncio.gather(*clearing.values(), return_exceptions=True)

    async def _clear(self, debris: Debris) -> None:
        if not is_in_use(self._feed.view, debris.step):
            id = f"{debris.id}.{self._draw()[:8]}"
            outcome = await self._nodes.carry_out(debris.step.node, id, self._ledger.epoch, debris.step, {}, undo=True)
            self._nodes.acknowledge(debris.step.node, outcome.task)
            if outcome.error is not None:
                return
        try:
            await self._ledger.write([Delete(records.key_of(debris))])
        except Unmet:
            log.warning("debris is gone already", debris=debris.id)


def over_and_left(view: ClusterView) -> list[Debris]:
    """Debris of jobs that are over: one under way may still write, or delete, the record that decides. Pure."""
    left = [debris for debris in view.debris if view.find("job", f"{debris.job:010d}") is None]
    return sorted(left, key=lambda debris: debris.id)


def is_in_use(view: ClusterView, step: Step) -> bool:
    """Whether what an undo had to leave is by now what a record names: a later job found it and took it as its own. Then it must
    stay. (A run is told apart by its generation, on its node.) Pure."""
    collection, _, id = step.object.partition("/")
    if isinstance(step, EnsureVolume | EnsureVolumeBrought):
        return any(disk.volume.id == id for _, disk in view.disks)
    if _is_elsewhere(view, step):
        return False
    if isinstance(step, EnsureNicSet | EnsureFiltered):  # what was before, unless a later job has made it otherwise
        return not _was_so(view, step)
    if isinstance(step, EnsureFirewall):
        record = view.find("firewall", id)
        return bool(record) if step.before is None else record is None or record.rules != step.before
    if isinstance(step, EnsureRouted):
        return any(address in view.addresses.get(id, ()) for address in step.addresses)
    if isinstance(step, EnsureListening):
        node = view.find("node", step.node)
        return node is not None and step.address in node.doors
    if isinstance(step, EnsureSeed | EnsureDefined | EnsurePool | EnsureNetwork | EnsureImageFetched | EnsureImageBuilt):
        return view.find(collection, id) is not None
    return False


def _is_elsewhere(view: ClusterView, step: Step) -> bool:
    """Whether what the step made is of an instance whose place is another node: a move did not come to its end there."""
    id = step.instance if isinstance(step, EnsureRouted) else step.object.removeprefix("instance/")
    instance: Instance | None = view.find("instance", id)
    return instance is not None and instance.node != step.node


def _was_so(view: ClusterView, step: EnsureNicSet | EnsureFiltered) -> bool:
    """Whether what this step found is what the record says."""
    instance: Instance | None = view.find("instance", step.instance)
    if instance is None:
        return isinstance(step, EnsureFiltered) and not step.before
    if isinstance(step, EnsureFiltered):
        return filters_of(view, instance) == step.before
    return any(domain_nic(view, instance, nic) == step.before for nic in instance.nics)


def to_restart(view: ClusterView, down: Sequence[str]) -> list[tuple[Instance, float]]:
    """Instances, of those with the ids `down`, that should run and do not, with the time from which they may be started. A node that has
    not answered may have to tell what a person did there. Pure."""
    found = [(view.find("instance", id), view.observed(id)) for id in down]
    due = [
        (instance, observed)
        for instance, observed in found
        if instance and instance.node in view.telemetry and _should_run(instance, observed)
    ]
    busy = {name for job in view.jobs for name in _objects(view, job)} if due else set()
    return [(instance, observed.restart_at) for instance, observed in due if f"instance/{instance.id}" not in busy]


def to_equip(view: ClusterView) -> list[Node]:
    """Nodes that answer and lack what the cluster's nodes have, and that no job is at. Pure."""
    lacking = [node for node in view.all("node", Node) if node.state != "ready" and node.id in view.telemetry]
    queued = {job.request.node for job in view.jobs if isinstance(job.request, EquipNode)} if lacking else set()
    free = [node for node in lacking if node.name not in queued and not view.job_at_work_on(f"node/{node.id}")]
    return sorted(free, key=lambda node: node.name)


def to_clear(view: ClusterView) -> list[Node]:
    """Nodes that answer and have what moves left there, and that no job is about to clear. Pure."""
    if not view.collections["stale"]:
        return []
    queued = {job.request.node for job in view.jobs if isinstance(job.request, ClearNode)}
    nodes = [node for node in view.all("node", Node) if node.name not in queued and clearable(view, node)]
    return sorted(nodes, key=lambda node: node.name)


def _should_run(instance: Instance, observed: Observed) -> bool:
    return instance.desired == "running" and instance.state == "ready" and observed.state in DOWN and not observed.gave_up


def _objects(view: ClusterView, job: Job) -> Iterator[str]:
    """What a job under way is about: nobody heals that meanwhile."""
    record = view.plan(job.id)
    if record and job.state != "waiting":
        yield from record.plan.uses.exclusive
    name = getattr(job.request, "instance", "")
    instance = view.named("instance", name) if name and not record else None
    if instance:
        yield f"instance/{instance.id}"
