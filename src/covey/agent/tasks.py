"""The tasks of an agent (P9): orders joined, carried out one at a time per object, taken back, and their outcomes kept until the leader
has recorded them. Knows no transport, so that the simulator runs it as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from covey.agent.work import Work, doers, undoers
from covey.base.errors import Bug, CoveyError, Refused, StepFailed, Unavailable, check, require
from covey.base.files import remove_durably, write_durably
from covey.host.host import Host
from covey.model.order import Epoch, Message, Order, Outcome, Progress
from covey.model.step import Step

REMEMBERED = 10_000  # ids of tasks that are over or taken back: a late copy of their order has no effect
log = structlog.get_logger()


class EpochFile:
    """The highest epoch that this agent has obeyed, kept over restarts (S13)."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: remembered in memory only, for simulations, where the caller keeps this object over restarts."""
        self._path = path
        self.epoch: Epoch = (0, 0)
        if path and path.exists():
            incarnation, epoch = json.loads(path.read_text())
            self.epoch = (incarnation, epoch)

    def obey(self, epoch: Epoch) -> None:
        """Raises Refused for an older leader than the last one; a newer one is remembered before anything is done for it."""
        check(
            epoch >= self.epoch,
            Refused(f"an order of epoch {epoch}, but {self.epoch} leads", "agent", "a deposed leader gave it"),
        )
        if epoch > self.epoch:
            if self._path:
                write_durably(self._path, json.dumps(epoch).encode())
            self.epoch = epoch

    def forget(self) -> None:
        """The machine belongs to another cluster than before, whose epochs have nothing to do with this one."""
        if self._path:
            remove_durably(self._path)
        self.epoch = (0, 0)


class Tasks:
    """All orders of one agent process. `emit` hands a message to the leader's stream; outcomes are also kept here until `acknowledge`.
    `settled` is called after each step and before its outcome is told: what the step changed is then seen first."""

    def __init__(
        self,
        host: Host,
        session: str,
        epochs: EpochFile,
        emit: Callable[[Message], None],
        settled: Callable[[Step, bool], Awaitable[None]] | None = None,
    ) -> None:
        import covey.agent.steps  # noqa: F401  (its modules register the handlers)

        self.session = session
        self.epochs = epochs
        self._host = host
        self._emit = emit
        self._settled = settled
        self._running: dict[str, asyncio.Task[None]] = {}
        self._epochs: dict[str, Epoch] = {}  # of running tasks: the highest that ordered them
        self._outcomes: dict[str, Outcome] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def accept(self, order: Order) -> None:
        """Begin the task of an order, or join it when it is known. Answers at once; the outcome comes by the stream.
        Raises Refused for an older epoch or a task that is over or was taken back; Unavailable for an order that was meant for an earlier
        process: the leader must greet this one first."""
        self.epochs.obey(order.epoch)
        check(
            order.session == self.session,
            Unavailable("the order was meant for an earlier process of this agent", f"step {order.id}"),
        )
        task = order.task
        if task in self._running:
            self._epochs[task] = max(self._epochs[task], order.epoch)  # a new leader that joins a task has it done
            return
        if task in self._outcomes:
            self._emit(self._outcomes[task])
            return
        check(task not in self._over, Refused("it is over, or was taken back", f"step {order.task}"))
        doing: asyncio.Task[None] | None = None
        if order.undo:
            done = _taken_back(order)
            self._bury(done)  # a late arrival of the order itself is refused from now on
            self._outcomes.pop(done, None)
            doing = self._running.get(done)
        self._epochs[task] = order.epoch
        self._running[task] = asyncio.get_running_loop().create_task(self._run(order, doing), name=f"step {task}")

    def acknowledge(self, tasks: list[str]) -> None:
        """The leader has recorded these outcomes: forget them, save that they are over."""
        for task in tasks:
            if self._outcomes.pop(task, None):
                self._bury(task)

    def outcomes(self) -> list[Outcome]:
        """What the leader has not acknowledged, for a stream that begins."""
        return list(self._outcomes.values())

    @property
    def in_flight(self) -> list[str]:
        return list(self._running)

    async def close(self) -> None:
        """End all tasks, wherever they are: as a kill would, but without leaving threads behind."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- one task ------------------------------------------------------------------------------------------------------------------
    async def _run(self, order: Order, doing: asyncio.Task[None] | None) -> None:
        outcome: Outcome | None = None
        structlog.contextvars.bind_contextvars(job=order.job, step=order.id, request=order.request)
        try:
            if doing:
                doing.cancel()
                await asyncio.wait({doing})
                self._outcomes.pop(_taken_back(order), None)
            outcome = await self._carry_out(order)
        finally:
            self._running.pop(order.task, None)
            self._epochs.pop(order.task, None)
            if outcome:
                self._outcomes[order.task] = outcome
                self._emit(outcome)

    async def _carry_out(self, order: Order) -> Outcome | None:
        """How it ended; None when its leader was deposed before it had an effect: it is the new leader's to order."""
        try:
            handler = require(
                (undoers if order.undo else doers).get(order.step.kind), Bug("no handler for it", f"step {order.step.kind}")
            )
            async with self.alone(order.step.object):
                if self._epochs[order.task] < self.epochs.epoch:  # at the moment of effect: a newer leader has spoken meanwhile
                    log.info("step dropped: its leader was deposed", step=order.task)
                    return None
                log.debug("step begins", kind=order.step.kind, object=order.step.object, undo=order.undo)
                work = Work(self._host, order.job, self._progress(order.task), order.secrets)
                result: dict[str, Any] = await handler(work, order.step) or {}
                log.debug("step ends", kind=order.step.kind, undo=order.undo)
            if self._settled:
                await self._settled(order.step, order.undo)
            return Outcome(order.task, result, None)
        except CoveyError as error:
            log.info("step failed", kind=order.step.kind, undo=order.undo, error=str(error))
            return Outcome(order.task, {}, error.to_json(), error.log if isinstance(error, StepFailed) else "")
        except Exception as error:  # the leader must learn of every end, also of our own mistakes
            log.exception("step ended by a mistake of Covey's", kind=order.step.kind)
            failure = StepFailed(
                f"{type(error).__name__}: {error}", f"step {order.step.kind}", "this is a bug of Covey: see the agent's log"
            )
            return Outcome(order.task, {}, failure.to_json())

    def _progress(self, task: str) -> Callable[[str, int, int], None]:
        return lambda text, done, total: self._emit(Progress(task, text, done, total))

    @contextlib.asynccontextmanager
    async def alone(self, object: str) -> AsyncIterator[None]:
        """One call at a time per object; "" needs no turn."""
        if not object:
            yield
            return
        lock, waiting = self._locks.get(object, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[object] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[object]
            if waiting == 1:
                del self._locks[object]
            else:
                self._locks[object] = (lock, waiting - 1)

    def _bury(self, task: str) -> None:
        self._over[task] = None
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)


def _taken_back(order: Order) -> str:
    """The task that an undo takes back. A later try at debris has an id of its own (`<job>.<step>.<try>`) for the same step."""
    return ".".join(order.id.split(".")[:2])
