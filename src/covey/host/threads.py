"""Blocking calls of drivers, out of the event loop's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
