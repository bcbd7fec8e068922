"""Which queued jobs may begin now: pure functions of what waits and what is busy (P1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from covey.model.job import Job
from covey.model.plan import Plan, Uses

PATIENCE_S = 60.0  # a job's priority grows by one for each that it has waited


@dataclass(slots=True)
class Busy:
    """The objects that running plans name."""

    _exclusive: dict[str, int] = field(default_factory=dict)  # object -> job
    _shared: dict[str, set[int]] = field(default_factory=dict)

    def take(self, job: int, uses: Uses) -> None:
        for name in uses.exclusive:
            self._exclusive[name] = job
        for name in uses.shared:
            self._shared.setdefault(name, set()).add(job)

    def release(self, job: int, uses: Uses) -> None:
        for name in uses.exclusive:
            if self._exclusive.get(name) == job:
                del self._exclusive[name]
        for name in uses.shared:
            holders = self._shared.get(name, set())
            holders.discard(job)
            if not holders:
                self._shared.pop(name, None)

    def blocker(self, uses: Uses) -> tuple[str, int] | None:
        """An object that forbids these uses now, and a job that holds it."""
        for name in uses.exclusive:
            if name in self._exclusive:
                return name, self._exclusive[name]
            if name in self._shared:
                return name, min(self._shared[name])
        for name in uses.shared:
            if name in self._exclusive:
                return name, self._exclusive[name]
        return None


def in_order(jobs: Iterable[Job], now: float) -> list[Job]:
    """Highest priority first, then oldest; waiting raises it."""
    return sorted(jobs, key=lambda job: (-(job.priority + int((now - job.created_at) / PATIENCE_S)), job.id))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A job that must wait: the object, and the job that holds it (or comes first)."""

    object: str
    by: int
    uses: Uses


def blocked_by(plan: Plan, busy: Busy, held: Iterable[tuple[int, Uses]]) -> Blocked | None:
    """Why a plan cannot begin now: a running plan, or an earlier job of the queue that waits for the same object."""
    blocker = busy.blocker(plan.uses)
    if blocker:
        return Blocked(blocker[0], blocker[1], plan.uses)
    for job, uses in held:
        name = plan.uses.conflicts(uses)
        if name:
            return Blocked(name, job, plan.uses)
    return None
