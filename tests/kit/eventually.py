"""Waiting for a claim to become true, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(claim: Callable[[], Awaitable[object]] | Callable[[], object], within: float = 20.0) -> None:
    """Return as soon as `claim()` is true; AssertionError when it was never so `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        answer = claim()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not so within {within:g} s: {getattr(claim, '__name__', claim)} (last: {answer!r})")
        await asyncio.sleep(0.05)
