"""Steps by which a guest moves while it runs."""

from __future__ import annotations

from dataclasses import asdict

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.host import moving
from covey.host.migration.protocol import Destination, Wish
from covey.model.steps.migration import EnsureExpected, EnsureMigrated


@carries_out(EnsureExpected)
async def ensure_expected(work: Work, step: EnsureExpected) -> None:
    await moving.ensure_expected(work.host, step.instance, step.source, step.generation)


@takes_back(EnsureExpected)
async def undo_expected(work: Work, step: EnsureExpected) -> None:
    await moving.ensure_not_expected(work.host, step.instance)


@carries_out(EnsureMigrated)
async def ensure_migrated(work: Work, step: EnsureMigrated) -> Result:
    wish = Wish(step.disks, step.whole, step.bandwidth, step.downtime_s, step.slows_guest)
    return asdict(await moving.ensure_migrated(work.host, _to(step), step.domain, step.generation, wish, work.progress))


@takes_back(EnsureMigrated)
async def undo_migrated(work: Work, step: EnsureMigrated) -> Result:
    return {"done": await moving.has_moved(work.host, _to(step), step.domain.instance, step.generation)}


def _to(step: EnsureMigrated) -> Destination:
    return Destination(step.to, step.to_name, step.address)
