"""Virtual time: an event loop whose clock jumps to the next timer, so that hours pass in milliseconds and the same calls always come
in the same order."""

from __future__ import annotations

import asyncio
import functools
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
BEGINNING = 1_800_000_000.0  # what the clock on the wall shows when a loop is made: seconds since the epoch


class Stuck(AssertionError):
    """Nothing is left that could ever happen, yet somebody waits."""


class _Jump:
    """The loop's selector: in place of waiting it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Stuck("all tasks wait for each other")
        self._loop.now += max(timeout, 0.0)
        return []

    def close(self) -> None: ...


class VirtualLoop(BaseEventLoop):
    """No sockets, no threads, no signals. What a task left behind without anybody looking is in `mishaps`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.mishaps: list[str] = []
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., R], *args: Any) -> asyncio.Future[R]:  # type: ignore[override]
        """At once: threads would make the order of things a matter of luck."""
        future: asyncio.Future[R] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (whatever it is belongs to whoever awaits the future)
            future.set_exception(error)
        return future

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "exception" in context:
            self.mishaps.append(f"{context.get('message')}: {context['exception']!r}")

    def _process_events(self, events: list[object]) -> None: ...

    def _write_to_self(self) -> None: ...


class VirtualClock:
    """covey.base.clock.Clock on the running virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return BEGINNING + self._loop.now

    def monotonic(self) -> float:
        return self._loop.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def virtual_clock() -> VirtualClock:
    """The clock of the virtual loop that this task runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return VirtualClock(loop)


def run_virtual(doing: Coroutine[Any, Any, R], within_s: float = 100_000.0) -> R:
    """The result of a coroutine on a loop of its own; AssertionError when it takes longer than `within_s` virtual seconds."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_bounded(doing, within_s))
    finally:
        left = asyncio.all_tasks(loop)
        for task in sorted(left, key=lambda task: task.get_name()):
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


async def _bounded(doing: Coroutine[Any, Any, R], within_s: float) -> R:
    try:
        return await asyncio.wait_for(doing, within_s)
    except TimeoutError:
        raise AssertionError(f"not over after {within_s:g} virtual seconds") from None


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorator: an async test that runs in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


async def eventually(claim: Callable[[], object], within: float = 30.0, step_s: float = 0.05) -> None:
    """Wait, in whatever time the loop keeps, until `claim()` holds; AssertionError naming it otherwise."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not claim():
        if loop.time() >= deadline:
            raise AssertionError(f"did not come true within {within:g} s: {getattr(claim, '__qualname__', claim)}")
        await asyncio.sleep(step_s)
