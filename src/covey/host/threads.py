"""Blocking calls of drivers, out of the event loop's way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread. Unlike with asyncio.to_thread, a cancelled caller goes on only when the call has
    ended: a thread cannot be stopped, and what it does to the disk must be over before the caller cleans up."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait((work,))
            except asyncio.CancelledError:
                continue  # asked twice; the thread still has to end
        if not work.cancelled():
            work.exception()  # the cancellation is what the caller hears of
        raise


def begin_apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Run a blocking look at something that may never answer, in a thread of its own: whoever no longer waits for it leaves it behind,
    and it keeps neither the pool of threads busy nor the process from ending. Not for what changes anything."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    answer.add_done_callback(_heed)

    def work() -> None:
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  (it is the waiting one's)
            _tell(loop, answer, answer.set_exception, error)
        else:
            _tell(loop, answer, answer.set_result, result)

    threading.Thread(target=work, name="apart", daemon=True).start()
    return answer


def _tell(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T], tell: Callable[[Any], None], what: object) -> None:
    def deliver() -> None:
        if not answer.done():
            tell(what)

    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody is there to be told
        loop.call_soon_threadsafe(deliver)


def _heed(answer: asyncio.Future[T]) -> None:
    """An error that nobody waits for any more is none."""
    if not answer.cancelled():
        answer.exception()
