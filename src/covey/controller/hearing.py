"""What the leader hears of instances, written down on change only: safety and healing stand on it (DESIGN section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from covey.base.clock import Clock, render_time
from covey.base.errors import BadInput
from covey.engine.ledger import Ledger
from covey.model import record as records
from covey.model.cluster import Defaults
from covey.model.instance import Instance, Observed
from covey.model.local import LocalAct
from covey.model.node import Node
from covey.model.order import Observation
from covey.model.record import Record
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed
from covey.store.protocol import Delete, Op, Put, Unchanged, Unmet

RESTART_FIRST_S = 2.0  # after a first crash; doubled with each further one within the window
RESTART_MOST_S = 300.0
AT_ONCE = 40  # observations in one transaction: each compares one record and may write two
Tell = Callable[[str, str, str], None]  # an event's kind, object and text
log = structlog.get_logger()


def _to_nobody(kind: str, object: str, text: str) -> None:
    return


class Hearing:
    """Takes observations in, in order, and commits what they change."""

    def __init__(self, feed: Feed, ledger: Ledger, clock: Clock, tell: Tell = _to_nobody) -> None:
        """`tell` makes an event of what no record shows."""
        self._tell = tell
        self._feed = feed
        self._ledger = ledger
        self._clock = clock
        self._queue: dict[tuple[str, str], Observation] = {}  # the newest of each node and instance
        self._kept: dict[tuple[str, str], Observation] = {}  # what does not count yet, likewise
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def hear(self, node: str, observation: Observation) -> None:
        """What the node with this id says: it counts while the instance is its own."""
        self._queue[node, observation.instance] = observation
        self._idle.clear()
        self._wake.set()

    def hear_all(self, node: str, observations: tuple[Observation, ...]) -> None:
        """All domains of a node: what it should have and is not among them is missing."""
        present = {observation.instance for observation in observations}
        for observation in observations:
            self.hear(node, observation)
        expected = [instance.id for instance in self._feed.view.instances if instance.node == node and instance.state == "ready"]
        for id in sorted(set(expected) - present):
            self.hear(node, Observation(id, "missing", "", 0, 0))

    async def hear_acts(self, node: str, acts: tuple[LocalAct, ...]) -> None:
        """What a person did on a node while nobody led: that is what is wanted from now on. Told of twice, it is taken in once."""
        for act in acts:
            await self._take_in(node, act)
            record: Node | None = self._feed.view.find("node", node)
            where = record.name if record else node
            why = f": {act.reason}" if act.reason else ""
            text = f"{act.by} had {where} {act.what} instance {act.name} at {render_time(act.at)}, while nobody led{why}"
            self._tell(f"instance.local-{act.what}", f"instance {act.name}", text)
            log.warning("a person acted while nobody led", node=where, what=act.what, name=act.name, by=act.by)

    async def _take_in(self, node: str, act: LocalAct) -> None:
        while True:
            view = self._feed.view
            after = as_wished(view, node, act)
            if after is None:
                return
            compare = [Unchanged(records.key_of(after), view.revision_of("instance", after.id))]
            try:
                await self._feed.reached(await self._ledger.write([Put(records.key_of(after), records.to_bytes(after))], compare))
                return
            except Unmet:
                await self._clock.sleep(0.01)  # let the feed bring the newer record

    async def run(self) -> None:
        self._feed.listen(self._on_change)
        try:
            await self._run()
        finally:
            self._feed.ignore(self._on_change)

    def _on_change(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        """A move is over, or was given up: what was said meanwhile counts now."""
        for key, _ in changes if self._kept else ():
            if key.startswith(("state/instance/", "state/run/")):
                self._hear_again(after, key.rpartition("/")[2])

    def _hear_again(self, view: ClusterView, id: str) -> None:
        instance: Instance | None = view.find("instance", id)
        if instance and not view.find("run", id):
            said = self._kept.pop((instance.node, id), None)
            if said:
                self.hear(instance.node, said)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                taken = [(whence[0], self._queue.pop(whence)) for whence in list(self._queue)[:AT_ONCE]]
                await self._write(taken)
            self._idle.set()

    async def _write(self, observations: list[tuple[str, Observation]]) -> None:
        """Compare, decide, commit; what changed meanwhile is looked at again."""
        while True:
            view = self._feed.view
            ops: list[Op] = []
            compare: list[Unchanged] = []
            for node, observation in observations:
                if not counts(view, node, observation):
                    self._kept[node, observation.instance] = observation
                    continue
                self._kept.pop((node, observation.instance), None)
                writes = changes_of(view, node, observation, self._clock.now())
                if writes:
                    ops += writes
                    compare.append(
                        Unchanged(
                            records.key("instance", observation.instance), view.revision_of("instance", observation.instance)
                        )
                    )
            if not ops:
                return
            try:
                await self._feed.reached(await self._ledger.write(ops, compare))
                return
            except BadInput:
                if len(observations) == 1:
                    raise
                half = len(observations) // 2  # their records are too large for one transaction
                await self._write(observations[:half])
                await self._write(observations[half:])
                return
            except Unmet:
                await asyncio.sleep(0)  # let the feed bring the newer record
                if self._feed.view is view:
                    await self._clock.sleep(0.01)


def counts(view: ClusterView, node: str, observation: Observation) -> bool:
    """Whether what the node with this id says of an instance is what holds. Others than its own have of it what a move leaves there, or
    brings there before it counts; and while it moves, its own node sees it stand still and go. Pure."""
    instance: Instance | None = view.find("instance", observation.instance)
    if instance is None:
        return True
    return instance.node == node and (observation.state == "running" or view.find("run", instance.id) is None)


def as_wished(view: ClusterView, node: str, act: LocalAct) -> Instance | None:
    """The instance's record after an act; None when it changes nothing: the instance is gone or has moved, a later start was ordered, or a
    job is at work on it, which ends as it was asked to. Pure."""
    instance: Instance | None = view.find("instance", act.instance)
    if instance is None or instance.node != node or instance.state != "ready" or instance.generation > act.generation:
        return None
    if view.job_at_work_on(f"instance/{instance.id}"):
        return None
    by = f"{act.by} by covey local"
    after = replace(instance, desired=act.wish, desired_by=by, generation=max(instance.generation, act.generation))
    return after if after != instance else None


def changes_of(view: ClusterView, node: str, observation: Observation, now: float) -> list[Op]:
    """What an observation changes in the records, if it counts: the Observed, and `desired` when the guest shut itself down. Pure."""
    instance: Instance | None = view.find("instance", observation.instance)
    before: Observed | None = view.find("observed", observation.instance)
    if instance is None:
        return [Delete(records.key_of(before))] if before else []
    if instance.node != node:
        return []
    after = observed_after(before or Observed(instance.id, "unknown", now), observation, view.cluster.defaults, now)
    wanted = as_it_runs(instance, observation) if view.is_reconciling else instance
    shut_down = after.state == "stopped" and after.reason == "guest" and after.generation >= instance.generation
    if after != before and shut_down and wanted.desired == "running":
        wanted = replace(wanted, desired="stopped", desired_by="guest")
    changed: list[Record] = [after] if after != before else []
    if wanted != instance:
        changed.append(wanted)
    return [Put(records.key_of(record), records.to_bytes(record)) for record in changed]


def as_it_runs(instance: Instance, seen: Observation) -> Instance:
    """The record of an instance raised to its run (S14): a backup may be older than its last start, and than the wish for it. Pure."""
    generation = max(instance.generation, seen.generation)
    if seen.state in ("running", "paused"):
        by = instance.desired_by if instance.desired == "running" else "covey"
        return replace(instance, generation=generation, desired="running", desired_by=by)
    return replace(instance, generation=generation)


def observed_after(before: Observed, seen: Observation, defaults: Defaults, now: float) -> Observed:
    """The record after an observation. A crash is counted once; too many within the window, and the healer gives up."""
    changed = seen.state != before.state or seen.generation != before.generation
    if seen.state == "running" and not seen.ready_generation and before.ready_generation == seen.generation:
        seen = _still_ready(seen, before)
    after = replace(
        before,
        state=seen.state,
        reason=seen.reason,
        since=now if changed else before.since,
        generation=seen.generation,
        pid=seen.pid,
        ready_generation=seen.ready_generation,
        ready_status=seen.ready_status,
        ready_s=seen.ready_s,
        ready_at=now if seen.ready_generation and seen.ready_generation != before.ready_generation else before.ready_at,
        addresses=seen.addresses,
        live=seen.live,
    )
    if seen.state == "running":
        return replace(after, restart_at=0.0, gave_up=False, crashes=() if before.gave_up else before.crashes)
    if seen.state == "crashed" and changed:
        crashes = (*(at for at in before.crashes if at > now - defaults.crash_window_s), now)
        if len(crashes) > defaults.crash_restarts:
            return replace(after, crashes=crashes, gave_up=True, restart_at=0.0)
        pause = min(RESTART_FIRST_S * 2 ** (len(crashes) - 1), RESTART_MOST_S)
        return replace(after, crashes=crashes, restart_at=now + pause)
    return after


def _still_ready(seen: Observation, before: Observed) -> Observation:
    """Of a guest that has reported, another agent knows nothing: one that came after a move, or was started anew."""
    return replace(
        seen,
        ready_generation=before.ready_generation,
        ready_status=before.ready_status,
        ready_s=before.ready_s,
        addresses=before.addresses,
    )
