"""The runner: carries one job's plan out, step by step, each recorded before the next (P3, P8, P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from covey.base import metrics
from covey.base.clock import Clock
from covey.base.errors import CoveyError, NotFound, Refused, StepFailed, from_json, require
from covey.engine.ledger import Ledger, ops_of
from covey.engine.nodes import Nodes
from covey.model import record as records
from covey.model.job import Debris, Job
from covey.model.order import Outcome
from covey.model.plan import Await, Plan, StepReport, Write
from covey.model.step import FORWARD, PIVOT, UNDOABLE, Step
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed
from covey.store.protocol import Op, Put, Unchanged, Unmet

UNDO_TIMEOUT_S = 60.0  # what one step's undo gets before it becomes debris (P5)
LONGEST_PAUSE_S = 30.0  # between two questions whether a pivot was done
RETRIES = 5  # of a forward step, with pauses of 1, 2, 4, 8, 16 s
KEPT_LOG = 4096
log = structlog.get_logger()


@dataclass(slots=True)
class Control:
    """How others reach a running job: `cancelled_by` and `superseded_by` are read between and during steps; `answered` is set once it
    is certain whether the job turns back."""

    cancelled_by: str = ""
    superseded_by: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def interrupt(self) -> None:
        self.wake.set()


@dataclass(slots=True)
class Runner:
    """One job on its way. `release` is called once it holds its objects no more (it waits, or is over)."""

    job: Job
    revision: int
    plan: Plan
    ledger: Ledger
    feed: Feed
    nodes: Nodes
    clock: Clock
    release: Callable[[], None]
    conduct: Callable[[Runner], Awaitable[None]]
    control: Control = field(default_factory=Control)

    async def run(self) -> Job:
        """From wherever the job stands to its end; returns it as ended. Raises Deposed."""
        structlog.contextvars.bind_contextvars(job=self.job.id, request=self.job.request_id)
        while self.job.state in ("running", "undoing"):
            await (self._go_forward() if self.job.state == "running" else self._go_back())
        if self.job.state == "waiting":
            self.release()
            await (self.conduct(self) if self.plan.children else self._wait())
        self.release()
        return self.job

    @property
    def past_pivot(self) -> bool:
        """Whether the step now due, or one done, only goes forward."""
        index = self.job.step
        return index < len(self.plan.steps) and self.plan.steps[index].role == FORWARD

    # --- forward -------------------------------------------------------------------------------------------------------------------
    async def _go_forward(self) -> None:
        while self.job.state == "running":
            step = self.plan.steps[self.job.step]
            if self.control.cancelled_by and not self.past_pivot:
                await self._turn_back(Refused(f"cancelled by {self.control.cancelled_by}", self.job))
                return
            started = self.clock.now()
            outcome = await self._until_interrupted(self._order(step, self.job.step, undo=False), step)
            if outcome is None:
                continue  # cancelled while it ran: the loop's head turns back
            ended = "failed" if outcome.error else "done"
            metrics.STEP_S.labels(step.kind, ended).observe(max(self.clock.now() - started, 0.0))
            if outcome.error is None:
                await self._record_done(outcome, started)
            elif step.role == FORWARD:
                await self._retry_or_give_up(step, outcome)
            else:
                await self._turn_back(from_json(outcome.error), outcome)
            self.nodes.acknowledge(step.node, outcome.task)

    async def _order(self, step: Step, index: int, undo: bool) -> Outcome:
        id = f"{self.job.id}.{index}" + (f".{self.job.attempt}" if self.job.attempt and (step.role == PIVOT or not undo) else "")
        try:
            secrets = {} if undo else await self._secrets(step)
        except NotFound as error:  # fails the step, as if its node had missed it
            return Outcome(id, {}, error.to_json())
        return await self.nodes.carry_out(step.node, id, self.ledger.epoch, step, secrets, undo)

    async def _secrets(self, step: Step) -> dict[str, str]:
        """The values that the step refers to: sent to its node only, kept nowhere on the way (P13). Raises NotFound."""
        reference = getattr(step, "secret", "")
        if not reference:
            return {}
        missing = NotFound(
            "the user-data that it was made with is gone from the store", self.job, "remove the instance and add it anew"
        )
        entry = require(await self.ledger.read(f"{records.SECRETS}{reference}"), missing)
        return {reference: entry.value.decode()}

    async def _until_interrupted(self, doing: Awaitable[Outcome], step: Step) -> Outcome | None:
        """The outcome, or None when the job was cancelled meanwhile and the step may be taken back."""
        order = asyncio.ensure_future(doing)
        try:
            while not order.done():
                interrupted = asyncio.ensure_future(self.control.wake.wait())
                try:
                    await asyncio.wait({order, interrupted}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    interrupted.cancel()
                self.control.wake.clear()
                if not order.done() and self.control.cancelled_by and step.role != FORWARD:
                    return None
            return order.result()
        finally:
            if not order.done():
                order.cancel()

    async def _record_done(self, outcome: Outcome, started: float) -> None:
        """What the plan meant to change by then goes into the same transaction."""
        report = StepReport(started, self.clock.now(), 0.0, outcome.result)
        writes = self.plan.pivoted if self.plan.steps[self.job.step].role == PIVOT else ()
        job = replace(
            self.job,
            state="running",
            step=self.job.step + 1,
            attempt=0,
            reports=(*self.job.reports, report),
            log=(self.job.log + outcome.log)[-KEPT_LOG:],
        )
        if job.step == len(self.plan.steps):
            job = self._finished(job)
            writes = (*writes, *self.plan.success)
        await self._write_with(writes, job)

    def _finished(self, job: Job) -> Job:
        if self.plan.awaits or self.plan.children:
            return replace(job, state="waiting", waiting_since=self.clock.now())
        return replace(job, state="succeeded", ended_at=self.clock.now())

    async def _retry_or_give_up(self, step: Step, outcome: Outcome) -> None:
        """A forward step failed: with back-off again, unless nothing irrevocable has happened yet and the error will not pass. An earlier
        attempt at a step that changes in place may have done all of it, and only its answer failed."""
        error = from_json(outcome.error or {})
        done = any(step.role != UNDOABLE for step in self.plan.steps[: self.job.step])
        untouched = not (done or (step.in_place and self.job.attempt))
        if isinstance(error, Refused) and untouched:  # NoSpace too: the step changed nothing, so neither did the job
            await self._turn_back(error)
        elif self.job.attempt < RETRIES:
            await self._write(replace(self.job, attempt=self.job.attempt + 1, error=error.to_json()))
            await self.clock.sleep(2.0 ** (self.job.attempt - 1))
        elif untouched:
            await self._turn_back(error)
        else:
            hint = f"once the cause is gone: {self.plan.repair}" if self.plan.repair else "see: covey cluster verify"
            failure = StepFailed(f"step {self.job.step + 1} ({step.title}): {error.what}", error.object, hint)
            await self._write(replace(self.job, state="needs_repair", ended_at=self.clock.now(), error=failure.to_json()))

    # --- back ----------------------------------------------------------------------------------------------------------------------
    async def _turn_back(self, error: CoveyError, outcome: Outcome | None = None) -> None:
        """Record why, and that from here on the job is undone."""
        log_text = (self.job.log + (outcome.log if outcome else ""))[-KEPT_LOG:]
        job = replace(self.job, state="undoing", error=error.to_json(), cancelled_by=self.control.cancelled_by, log=log_text)
        await self._write(job)

    async def _go_back(self) -> None:
        """Undo in reverse: first the step that failed or was cut short (it may have made a part), then those done."""
        while (index := self.job.step) >= 0:
            ops: list[Op] = []
            left = self.job.left
            step = self.plan.steps[index] if index < len(self.plan.steps) else None
            outcome = None
            if step and step.role == PIVOT:
                if await self._is_past(step, index):
                    return
            elif step and step.role != FORWARD:
                outcome = await self._undo(step, index)
                if outcome is None or outcome.error is not None:
                    why = from_json(outcome.error).what if outcome and outcome.error else f"no answer within {UNDO_TIMEOUT_S:g} s"
                    debris = Debris(f"{self.job.id}.{index}", self.job.id, step, why, self.clock.now())
                    ops.append(Put(records.key_of(debris), records.to_bytes(debris)))
                    left = (*left, f"{step.title}: {why}")
            await self._record_undone(index, ops, left)
            if outcome:
                self.nodes.acknowledge(step.node if step else "", outcome.task)
            if self.job.ended:
                return

    async def _is_past(self, step: Step, index: int) -> bool:
        """Take the pivot back, or learn that it was done: then the job goes forward from there. Without knowing which, nothing else may be
        taken back, so its node is asked for as long as it takes."""
        while True:
            started = self.clock.now()
            outcome = await self._order(step, index, undo=True)
            if outcome.error is None:
                break
            log.warning("nobody knows whether the pivot was done; asking again", step=step.kind, error=outcome.error)
            await self._write(replace(self.job, attempt=self.job.attempt + 1))
            self.nodes.acknowledge(step.node, outcome.task)
            await self.clock.sleep(min(2.0 ** (self.job.attempt - 1), LONGEST_PAUSE_S))
        done = bool(outcome.result.get("done"))
        self.job = replace(self.job, attempt=0)
        if done:
            self.control.cancelled_by = ""
            self.job = replace(self.job, cancelled_by="", error=None)
            await self._record_done(outcome, started)
        self.nodes.acknowledge(step.node, outcome.task)
        return done

    async def _undo(self, step: Step, index: int) -> Outcome | None:
        """None when the node did not answer in time."""
        undoing = asyncio.ensure_future(self._order(step, index, undo=True))
        expiry = asyncio.ensure_future(self.clock.sleep(UNDO_TIMEOUT_S))
        try:
            await asyncio.wait({undoing, expiry}, return_when=asyncio.FIRST_COMPLETED)
            return undoing.result() if undoing.done() else None
        finally:
            undoing.cancel()
            expiry.cancel()

    async def _record_undone(self, index: int, ops: list[Op], left: tuple[str, ...]) -> None:
        now = self.clock.now()
        reports = tuple(
            replace(report, undone_at=now) if number == index else report for number, report in enumerate(self.job.reports)
        )
        job = replace(self.job, step=index - 1, reports=reports, left=left)
        if index > 0:
            await self._write(job, ops)
            return
        state = "cancelled" if job.cancelled_by else "failed"
        await self._write_with(self.plan.undone, replace(job, step=0, state=state, ended_at=now), ops)

    # --- waiting -------------------------------------------------------------------------------------------------------------------
    async def _wait(self) -> None:
        """Until the condition holds, the deadline passes, somebody cancels, or another job takes the object over (P8)."""
        condition = self.plan.awaits
        if condition is None:
            raise StepFailed("a job waits, but its plan names nothing to wait for", self.job, "this is a bug of Covey")
        changed = self.control.wake
        concerned = {records.key("observed", condition.instance), records.key("instance", condition.instance)}

        def listener(before: ClusterView, after: ClusterView, changes: Changes) -> None:
            if any(key in concerned for key, _ in changes):
                changed.set()

        self.feed.listen(listener)
        expiry = asyncio.ensure_future(self.clock.sleep(self.job.waiting_since + condition.deadline_s - self.clock.now()))
        try:
            while not (ended := await self._verdict(condition, expiry.done())):
                waker = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait({waker, expiry}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waker.cancel()
                changed.clear()
        finally:
            self.feed.ignore(listener)
            expiry.cancel()
        await self._write(replace(ended, ended_at=self.clock.now()))

    async def _verdict(self, condition: Await, expired: bool) -> Job | None:
        """The job as it ends now, or None while it goes on waiting."""
        if self.control.superseded_by:
            error = Refused(f"job {self.control.superseded_by} took the instance over", self.job)
            return replace(self.job, state="superseded", error=error.to_json())
        if self.control.cancelled_by:
            error = Refused(f"cancelled by {self.control.cancelled_by} while it waited; what was done stays", self.job)
            return replace(self.job, state="cancelled", cancelled_by=self.control.cancelled_by, error=error.to_json())
        observed = self.feed.view.observed(condition.instance)
        if observed.ready_generation >= condition.generation:
            return replace(self.job, state="succeeded")
        instance = self.feed.view.find("instance", condition.instance)
        if instance is None or instance.desired != "running":
            error = Refused("it was stopped before it reported that it is ready", instance or "instance")
            return replace(self.job, state="failed", error=error.to_json())
        if not expired:
            return None
        tail = await self.nodes.console_tail(instance.node, instance.id)
        failure = StepFailed(
            f"the guest did not report that it is ready within {condition.deadline_s:g} s; it is {observed.state}",
            instance,
            f"look inside: covey instance console {instance.name}",
        )
        return replace(self.job, state="failed", error=failure.to_json(), log=(self.job.log + tail)[-KEPT_LOG:])

    # --- writing -------------------------------------------------------------------------------------------------------------------
    async def _write_with(self, writes: Sequence[Write], job: Job, more: Sequence[Op] = ()) -> None:
        """Write the job together with what its plan writes. A record of which single fields change may change meanwhile, by what is heard
        of its guest: then it is looked at again."""
        while True:
            view = self.feed.view
            ops, compare = ops_of(writes, job, view)
            try:
                await self._write(job, [*more, *ops], compare)
                return
            except Unmet as unmet:
                if unmet.key not in {one.key for one in compare}:
                    raise
            await asyncio.sleep(0)  # let the feed bring the newer record
            if self.feed.view is view:
                await self.clock.sleep(0.01)

    async def end(self, job: Job) -> None:
        """Write it as it ends."""
        await self._write(replace(job, ended_at=self.clock.now()))

    async def _write(self, job: Job, ops: Sequence[Op] = (), compare: Sequence[Unchanged] = ()) -> None:
        self.job, self.revision = await self.ledger.write_job(job, self.revision, ops, compare, self.plan)
        if self.job.state not in ("running", "waiting") or self.past_pivot:
            self.control.answered.set()
