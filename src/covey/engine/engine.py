"""The engine: takes jobs in, plans them one after the other, runs them side by side, and carries on after a crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import structlog

from covey.base import metrics
from covey.base.clock import Clock
from covey.base.errors import BadInput, Bug, CoveyError, NotFound, Refused, Unavailable, check
from covey.engine.ledger import Deposed, Ledger, history_key, ops_of, plan_op
from covey.engine.nodes import Nodes
from covey.engine.parent import conduct
from covey.engine.queue import Blocked, Busy, blocked_by, in_order
from covey.engine.runner import Runner
from covey.model import record as records
from covey.model.job import Job, PlanRecord
from covey.model.plan import Plan, Uses
from covey.model.request import Request
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed
from covey.store.protocol import LARGEST_REQUEST, Delete, Op, Store, Unchanged, Unmet, absent

NODE_PATIENCE_S = 30.0  # how long a job waits for the agent of a node that it needs
AT_ONCE = 64  # jobs planned between two looks at the world
LARGEST_JOB = (
    250_000  # bytes of a job as submitted: its parts are repeated in its plan and its records, and all go in one transaction
)
LARGEST_BEGIN = LARGEST_REQUEST - 150_000  # bytes of the transaction that begins a job: the one that ends it says a little more
Planner = Callable[[ClusterView, Request], Plan]
log = structlog.get_logger()


def _no_ops(job: Job) -> tuple[Op, ...]:
    return ()


def _without_secret(job: Job) -> tuple[Op, ...]:
    """What a request keeps apart (P13) goes with a job that never began; later its plan sees to that."""
    reference = getattr(job.request, "secret", "")
    return (Delete(f"{records.SECRETS}{reference}"),) if reference else ()


class Engine:
    """The one place where jobs begin and end, while this process leads."""

    def __init__(self, store: Store, feed: Feed, ledger: Ledger, nodes: Nodes, clock: Clock, planner: Planner) -> None:
        self._store = store
        self._feed = feed
        self._ledger = ledger
        self._nodes = nodes
        self._clock = clock
        self._plan = planner
        self._busy = Busy()
        self._runners: dict[int, Runner] = {}
        self._blocked: dict[int, Blocked] = {}
        self._uncertain: set[int] = set()  # jobs whose plan is being committed
        self._ended: dict[int, str] = {}  # states of jobs that ended lately, for those that come after them
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next = 1
        self._began = clock.now()
        self._retrying: asyncio.Task[None] | None = None
        self._recovered = asyncio.Event()  # before that the next number is not known
        self._deposed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # --- life ----------------------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Take up what the store holds, then work until cancelled or Deposed."""
        await self._recover()
        self._feed.listen(self._on_change)
        try:
            while True:
                await self._until_woken()
                self._wake.clear()
                await self._schedule()
        finally:
            self._feed.ignore(self._on_change)
            tasks = [*self._tasks, *([self._retrying] if self._retrying else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_woken(self) -> None:
        waiter: asyncio.Future[Any] = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([waiter, self._deposed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if self._deposed.done():
            raise Deposed

    async def _recover(self) -> None:
        """Jobs that a former leader began go on where it recorded them."""
        view = await self._feed.reached(self._ledger.revision)  # all that former leaders wrote: they can write no more
        last = await self._ledger.last_ended()
        lost_to = view.restoration.lost_to if view.restoration else 0
        self._next = 1 + max([last, lost_to, *(job.id for job in view.jobs)])
        self._recovered.set()
        for job in sorted(view.jobs, key=lambda job: job.id):  # a later one ends the waits of earlier ones (P8)
            if job.state == "queued":
                continue
            record = view.plan(job.id)
            if record is None:
                raise Bug("it runs, but has no plan", job)
            self._begin(job, view.revision_of("job", records.record_id(job)), record.plan)
        self._wake.set()

    def _on_change(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if any(key.startswith("state/job/") for key, _ in changes) or before.telemetry.keys() != after.telemetry.keys():
            self._wake.set()

    # --- taking in -----------------------------------------------------------------------------------------------------------------
    async def submit(
        self, job: Job, ops: Callable[[Job], tuple[Op, ...]] = _no_ops, compare: tuple[Unchanged, ...] = ()
    ) -> tuple[Job, int]:
        """Commit a queued job under the next number; `ops` (made from the numbered job) and `compare` go into the same transaction.
        Returns it with its revision. Raises BadInput for a request that is too large, Unmet for one of `compare`, NoSpace, Unavailable."""
        size = len(records.to_bytes(job))
        check(size <= LARGEST_JOB, BadInput(f"{size} bytes are too many for one request", job.request.title, "shorten its texts"))
        await self._recovered.wait()
        job = replace(job, id=self._next)
        self._next += 1
        try:
            return await self._ledger.write_job(job, 0, ops(job), (absent(history_key(job.id)), *compare), patient=False)
        except Deposed:
            self._depose()
            raise Unavailable("another process leads now", "cluster", "ask it") from None

    async def cancel(self, id: int, by: str) -> None:
        """Before the pivot a job is undone, after it it only goes forward. Returns once the job turns back or has ended.
        Raises NotFound, Refused."""
        await self._recovered.wait()  # before that, what runs looks like what never began
        job: Job | None = self._feed.view.find("job", f"{id:010d}")
        if job is None:
            ended = await self._store.get(history_key(id))
            check(ended, NotFound("there is no job of that number", f"job {id}", "see: covey job list"))
            raise Refused("it is over already", f"job {id}", f"see: covey job info {id}")
        runner = self._runners.get(id)
        if runner is None:
            check(id not in self._uncertain, Refused("it is just beginning", job, "try again"))
            check(
                job.state == "queued",
                Refused("a mistake of Covey's stopped it half-way", job, "it goes on when Covey is restarted: see the log"),
            )
            error = Refused(f"cancelled by {by} before it began", job)
            over = await self._end_queued(job, "cancelled", error, cancelled_by=by)
            check(over, Refused("it is just beginning", job, "try again"))
            return
        check(runner.job.state != "undoing", Refused("it is being undone already", job))
        if runner.job.state == "running":
            check(
                not runner.past_pivot,
                Refused("it is past the point where it can be taken back", job, f"let it end: covey job watch {id}"),
            )
        runner.control.cancelled_by = by
        runner.control.interrupt()
        await runner.control.answered.wait()
        check(
            runner.job.cancelled_by, Refused("it was too far already to be taken back", job, f"let it end: covey job watch {id}")
        )

    @property
    def last(self) -> int:
        """The number of the latest job; 0 before that is known."""
        return self._next - 1

    def blocked(self, id: int) -> Blocked | None:
        """What a queued job waits for, if it is known."""
        return self._blocked.get(id)

    # --- planning ------------------------------------------------------------------------------------------------------------------
    async def _schedule(self) -> None:
        """Plan what may begin, in order, each on the view as the plans before it leave it; commit them side by side."""
        view = self._feed.view
        held: list[tuple[int, Uses]] = []
        commits: list[Coroutine[Any, Any, object]] = []
        now = self._clock.now()
        queued = [
            job for job in view.jobs if job.state == "queued" and job.id not in self._runners and job.id not in self._uncertain
        ]
        for job in in_order(queued, now):
            if len(commits) >= AT_ONCE:
                self._wake.set()
                break
            if not await self._may_follow(job, view):
                continue
            blocked = self._blocked.get(job.id)
            if blocked and self._still_blocked(blocked, held):
                held.append((job.id, blocked.uses))
                continue
            try:
                plan = self._planned(view, job)
            except Unavailable as error:  # after a restart agents answer a moment later than the queue is read
                if now < max(job.created_at, self._began) + NODE_PATIENCE_S:
                    self._retry_soon()
                    continue
                commits.append(self._end_queued(job, "failed", error))
                continue
            except CoveyError as error:
                commits.append(self._end_queued(job, "failed", error))
                continue
            blocked = blocked_by(plan, self._busy, held)
            if blocked:
                self._blocked[job.id] = blocked
                held.append((job.id, blocked.uses))
                continue
            self._blocked.pop(job.id, None)
            self._busy.take(job.id, plan.uses)
            commits.append(self._commit(job, plan, view))
            view = as_if(view, job.id, plan)
        if commits:
            await asyncio.gather(*commits)

    def _retry_soon(self) -> None:
        """Look at the queue again in a moment, even if nothing changes."""
        if self._retrying is None or self._retrying.done():

            async def wake() -> None:
                await self._clock.sleep(1.0)
                self._wake.set()

            self._retrying = asyncio.create_task(wake())

    def _planned(self, view: ClusterView, job: Job) -> Plan:
        """Raises what the planner raises, and Refused when the plan is not the one that was shown (P2)."""
        try:
            plan = self._plan(view, job.request)
        except CoveyError:
            raise
        except Exception as error:
            log.exception("a planner failed", job=job.id)
            raise Bug(f"planning failed: {type(error).__name__}: {error}", job, "this is a bug of Covey: see its log") from error
        check(
            not job.expected or job.expected == plan.digest,
            Refused(
                "plan_changed: what would be done now is not what was shown", job, f"look again with --dry-run: {plan.summary}"
            ),
        )
        return plan

    def _still_blocked(self, blocked: Blocked, held: list[tuple[int, Uses]]) -> bool:
        if self._busy.blocker(blocked.uses):
            return True
        return any(blocked.uses.conflicts(uses) for _, uses in held)

    async def _may_follow(self, job: Job, view: ClusterView) -> bool:
        """Whether the jobs that it comes after have succeeded; a failed one cancels it (P15)."""
        for id in job.after:
            if id < job.id and view.find("job", f"{id:010d}"):  # a later one, or itself, would be waited for without end
                return False
            state = self._ended.get(id) or await self._ended_state(id)
            if state != "succeeded":
                await self._end_queued(job, "cancelled", Refused(f"job {id}, which it comes after, {state}", job))
                return False
        return True

    async def _ended_state(self, id: int) -> str:
        entry = await self._ledger.read(history_key(id))
        return records.ended_from_bytes(entry.value).job.state if entry else "is not known"

    async def _commit(self, job: Job, plan: Plan, view: ClusterView) -> None:
        """Plan, claims and first writes in one transaction (P1); a plan without steps is over with it."""
        self._uncertain.add(job.id)
        now = self._clock.now()
        revision = view.revision_of("job", records.record_id(job))
        compare = tuple(self._compare(name, view) for name in plan.uses.exclusive if self._is_record(name))
        try:
            if plan.steps or plan.children:
                begun, writes, unchanged = _begun(job, plan, now, view)
                ops = [*writes, plan_op(begun, plan)]
                compare = (*compare, *unchanged)
                _check_size(ops, begun)
                begun, revision = await self._ledger.write_job(begun, revision, ops, compare)
                self._begin(begun, revision, plan)
                await self._feed.reached(revision)  # the next plan must see what this one claims
                return
            ended = replace(job, state="succeeded", planned_at=now, ended_at=now)
            ops, _ = ops_of((*plan.begin, *plan.success), ended, view)
            self._supersede(ended, plan)
            _, revision = await self._ledger.write_job(ended, revision, ops, compare, plan)
            await self._feed.reached(revision)
            self._over(ended, plan)
        except Unmet:
            self._busy.release(job.id, plan.uses)  # the record changed under the plan: plan it again on the newer view
            self._wake.set()
        except BadInput as error:  # the store takes no such transaction, now or ever
            self._busy.release(job.id, plan.uses)
            await self._end_queued(job, "failed", error)
        except Deposed:
            self._depose()
        finally:
            self._uncertain.discard(job.id)

    @staticmethod
    def _is_record(object: str) -> bool:
        return object.partition("/")[0] in records.COLLECTIONS

    @staticmethod
    def _compare(object: str, view: ClusterView) -> Unchanged:
        collection, _, id = object.partition("/")
        return Unchanged(records.key(collection, id), view.revision_of(collection, id))

    async def _end_queued(self, job: Job, state: str, error: CoveyError, cancelled_by: str = "") -> bool:
        """End a job that never began; False when it began, or ended, in the meantime."""
        revision = self._feed.view.revision_of("job", records.record_id(job))
        ended = replace(job, state=state, ended_at=self._clock.now(), error=error.to_json(), cancelled_by=cancelled_by)
        self._uncertain.add(job.id)
        try:
            _, revision = await self._ledger.write_job(ended, revision, _without_secret(job))
            await self._feed.reached(revision)
            self._over(ended, None)
            return True
        except Unmet:
            self._wake.set()
        except Deposed:
            self._depose()
        finally:
            self._uncertain.discard(job.id)
        return False

    # --- running -------------------------------------------------------------------------------------------------------------------
    def _begin(self, job: Job, revision: int, plan: Plan) -> None:
        if job.state != "waiting":
            self._busy.take(job.id, plan.uses)
        self._supersede(job, plan)

        def release() -> None:
            self._busy.release(job.id, plan.uses)
            self._wake.set()

        runner = Runner(job, revision, plan, self._ledger, self._feed, self._nodes, self._clock, release, self._conduct)
        self._runners[job.id] = runner
        task = asyncio.create_task(self._run(runner), name=f"job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _supersede(self, job: Job, plan: Plan) -> None:
        """End the waits on objects that this job takes over (P8), and jobs with children that it takes the place of."""
        for other in self._runners.values():
            conducts = other.job.state == "waiting" and other.plan.children and other.job.id < job.id
            if conducts and set(other.plan.uses.exclusive).intersection(plan.uses.exclusive):
                other.control.superseded_by = job.id
                other.control.interrupt()
            waits = other.job.state == "waiting" and other.plan.awaits
            if waits and other.job.id < job.id and f"instance/{waits.instance}" in plan.uses.exclusive:
                other.control.superseded_by = job.id
                other.control.interrupt()

    async def _conduct(self, runner: Runner) -> None:
        await conduct(runner, self)

    async def outcome_of(self, id: int) -> Job | None:
        """A job as it ended; None while it is under way."""
        if self._feed.view.find("job", f"{id:010d}"):
            return None
        entry = await self._ledger.read(history_key(id))
        return records.ended_from_bytes(entry.value).job if entry else None

    async def _run(self, runner: Runner) -> None:
        try:
            job = await runner.run()
            await self._feed.reached(runner.revision)  # else the job would still look queued to the next pass
            self._over(job, runner.plan)
        except Deposed:
            self._depose()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("the runner of a job failed", job=runner.job.id)
            await self._end_broken(runner, error)
        finally:
            self._runners.pop(runner.job.id, None)
            runner.control.answered.set()  # whatever ended it: nobody waits for a word of it any more

    async def _end_broken(self, runner: Runner, error: Exception) -> None:
        """A mistake of Covey's own must not hold the job's objects for ever: it ends, and says so."""
        bug = Bug(
            f"{type(error).__name__}: {error}", runner.job, "this is a bug of Covey: see its log; then: covey cluster verify"
        )
        left = tuple(f"{step.title}: not taken back" for step in runner.plan.steps[: runner.job.step + 1])
        job = replace(runner.job, state="needs_repair", ended_at=self._clock.now(), error=bug.to_json(), left=left)
        try:
            await self._ledger.write_job(job, runner.revision, plan=runner.plan)
        except Deposed:
            self._depose()
        self._over(job, runner.plan)

    def _over(self, job: Job, plan: Plan | None) -> None:
        metrics.JOBS.labels(job.state).inc()
        took_s = round(job.ended_at - job.created_at, 3)
        log.info(
            "job over",
            job=job.id,
            request=job.request_id,
            title=job.request.title,
            user=job.user,
            state=job.state,
            took_s=took_s,
        )
        if plan:
            self._busy.release(job.id, plan.uses)
        self._blocked.pop(job.id, None)
        self._ended[job.id] = job.state
        parent = self._runners.get(job.parent)
        if parent:
            parent.control.interrupt()
        while len(self._ended) > 1000:
            del self._ended[next(iter(self._ended))]
        self._wake.set()

    def _depose(self) -> None:
        if not self._deposed.done():
            with contextlib.suppress(asyncio.InvalidStateError):
                self._deposed.set_result(None)


def _begun(job: Job, plan: Plan, now: float, view: ClusterView) -> tuple[Job, list[Op], list[Unchanged]]:
    """The job as its plan begins, with the writes and what they compare. One without steps of its own is at its children at once."""
    if plan.steps:
        begun = replace(job, state="running", planned_at=now)
        return begun, ops_of(plan.begin, begun, view)[0], []
    begun = replace(job, state="waiting", planned_at=now, waiting_since=now)
    return begun, *ops_of((*plan.begin, *plan.success), begun, view)


def _check_size(ops: list[Op], job: Job) -> None:
    """Raises BadInput for a plan that could be begun, but perhaps not ended."""
    size = sum(len(op.value) for op in ops if not isinstance(op, Delete))
    check(size <= LARGEST_BEGIN, BadInput(f"a plan of {size} bytes is too large", job, "shorten its notes, keys or scripts"))


def as_if(view: ClusterView, job: int, plan: Plan) -> ClusterView:
    """The view with the claims and first writes of a job's plan counted, for the next to be planned."""
    changes: Changes = [(w.key, None if w.record is None else records.decoded(w.key, w.record)) for w in plan.begin]
    if plan.claims:
        record = PlanRecord(job, plan)
        changes.append((records.key_of(record), record))
    if not plan.steps:
        changes += [(w.key, None if w.record is None else records.decoded(w.key, w.record)) for w in plan.success]
    return view.apply(changes, view.revision, written=0) if changes else view
