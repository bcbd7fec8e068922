"""Looks at pools whose file system may never answer, as one from a server that is gone: a process that touches it sleeps in the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from covey.base.errors import Unavailable, check
from covey.host.threads import begin_apart
from covey.model.pool import Place

T = TypeVar("T")
ANSWER_WITHIN_S = 5.0


class Looks:
    """While a look at a place hangs, no other begins there: a pool that hangs costs one thread, and its errors are quick."""

    def __init__(self, within_s: float = ANSWER_WITHIN_S) -> None:
        self._within_s = within_s
        self._hanging: dict[str, asyncio.Future[Any]] = {}

    async def at(self, place: Place, look: Callable[[Place], T]) -> T:
        """What `look` says. Raises what it raises, and Unavailable when it does not answer."""
        silent = Unavailable("its file system does not answer", place.path, "is its server there? see: dmesg, mount")
        before = self._hanging.get(place.path)
        check(before is None or before.done(), silent)
        answer = begin_apart(look, place)
        try:
            async with asyncio.timeout(self._within_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise silent from None
        finally:
            if answer.done():
                self._hanging.pop(place.path, None)
            else:
                self._hanging[place.path] = answer
