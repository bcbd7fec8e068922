"""Jobs whose plans have children: each child is a job of its own, some of them at a time (P7)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from covey.base.errors import CoveyError, NoSpace, Refused, StepFailed, Unavailable
from covey.model import record as records
from covey.model.job import Job
from covey.store.protocol import Op, Put, Unchanged, Unmet

if TYPE_CHECKING:
    from covey.engine.runner import Runner

LOOK_AGAIN_S = 5.0  # at children of which no word came
TRY_AGAIN_S = 0.5  # after a store that could not write


class Office(Protocol):
    """What of the engine it takes."""

    async def submit(self, job: Job, ops: Callable[[Job], tuple[Op, ...]], compare: tuple[Unchanged, ...]) -> tuple[Job, int]: ...

    async def cancel(self, id: int, by: str) -> None: ...

    async def outcome_of(self, id: int) -> Job | None: ...


async def conduct(runner: Runner, office: Office) -> None:
    """Begin the children, some at a time, until all have ended; then the parent ends as they did. Cancelled, it takes back those that can
    be; superseded, it begins no more."""
    while True:
        outcomes = {id: await office.outcome_of(id) for id in runner.job.children}
        under_way = [id for id, outcome in outcomes.items() if outcome is None]
        if runner.control.cancelled_by or runner.control.superseded_by:
            await _stop(runner, office, under_way)
            return
        if len(runner.job.children) < len(runner.plan.children) and len(under_way) < runner.plan.at_once:
            await _begin_next(runner, office)
            continue
        if not under_way:
            await _end(runner, [outcome for outcome in outcomes.values() if outcome])
            return
        await _woken(runner)


async def _begin_next(runner: Runner, office: Office) -> None:
    """In one transaction with the parent, which knows its children: so each is begun once, whoever leads."""
    job, number = runner.job, len(runner.job.children)
    drawn = hashlib.sha256(f"{job.request.seed}/{number}".encode()).hexdigest()[:32]
    now = runner.clock.now()
    request = replace(runner.plan.children[number], seed=drawn, now=now)
    child = Job(
        0, request, job.user, "queued", now, reason=job.reason, priority=job.priority, parent=job.id, request_id=job.request_id
    )
    key = records.key_of(job)

    def with_child(child: Job) -> tuple[Op, ...]:
        return (Put(key, records.to_bytes(replace(job, children=(*job.children, child.id)))),)

    try:
        child, revision = await office.submit(child, with_child, (Unchanged(key, runner.revision),))
    except (Unmet, Unavailable, NoSpace):  # whether it was written, the record says
        await runner.clock.sleep(TRY_AGAIN_S)
        present, revision = runner.feed.view.held(key)
        if present is not None and revision > runner.revision:
            runner.job, runner.revision = present, revision
        return
    runner.job, runner.revision = replace(job, children=(*job.children, child.id)), revision
    await runner.feed.reached(revision)


async def _stop(runner: Runner, office: Office, under_way: list[int]) -> None:
    job, control = runner.job, runner.control
    begun = f"{len(job.children)} of {len(runner.plan.children)} parts had begun"
    if control.superseded_by:
        error = Refused(f"job {control.superseded_by} took its place; {begun}", job)
        await runner.end(replace(job, state="superseded", error=error.to_json()))
        return
    for id in under_way:
        with suppress(CoveyError):  # too far, or over: it ends by itself
            await office.cancel(id, control.cancelled_by)
    error = Refused(f"cancelled by {control.cancelled_by}; {begun}", job)
    await runner.end(replace(job, state="cancelled", cancelled_by=control.cancelled_by, error=error.to_json()))


async def _end(runner: Runner, outcomes: list[Job]) -> None:
    failed = [
        f"job {one.id} ({one.request.title}): {(one.error or {}).get('what', one.state)}"
        for one in outcomes
        if one.state != "succeeded"
    ]
    if not failed:
        await runner.end(replace(runner.job, state="succeeded"))
        return
    error = StepFailed(
        f"{len(failed)} of {len(runner.plan.children)} parts failed: {failed[0]}",
        runner.job,
        f"see: covey job info {runner.job.id}",
    )
    await runner.end(replace(runner.job, state="failed", error=error.to_json(), left=tuple(failed)))


async def _woken(runner: Runner) -> None:
    """Until something is heard of a child, or for a while."""
    waker = asyncio.ensure_future(runner.control.wake.wait())
    expiry = asyncio.ensure_future(runner.clock.sleep(LOOK_AGAIN_S))
    try:
        await asyncio.wait({waker, expiry}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waker.cancel()
        expiry.cancel()
    runner.control.wake.clear()
