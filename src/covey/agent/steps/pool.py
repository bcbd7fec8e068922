"""Steps on pools."""

from __future__ import annotations

from covey.agent.work import Work, carries_out, takes_back
from covey.model.steps.pool import EnsurePool, EnsurePoolAbsent


@carries_out(EnsurePool)
async def ensure_pool(work: Work, step: EnsurePool) -> None:
    await work.host.storage(step.place).ensure_pool(step.place, work.job)


@takes_back(EnsurePool)
async def undo_pool(work: Work, step: EnsurePool) -> None:
    await work.host.storage(step.place).ensure_pool_absent(step.place, work.job)


@carries_out(EnsurePoolAbsent)
async def ensure_pool_absent(work: Work, step: EnsurePoolAbsent) -> None:
    await work.host.storage(step.place).ensure_pool_absent(step.place)
