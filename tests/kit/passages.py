"""A way between two hypervisors of one test, without agents, which can be cut at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from covey.base.errors import Unavailable
from covey.host.hypervisor.protocol import Hypervisor
from covey.host.migration.protocol import CONTROL, Pipe

Cut = Callable[[str], Awaitable[bool]]


async def never(direction: str) -> bool:
    return False


class DirectPassage:
    """To `other`. `is_cut` is asked before each piece of the control connection goes "there" or comes "back": what is cut is lost, and all
    after it."""

    def __init__(self, other: Hypervisor, instance: str, generation: int, description: str, is_cut: Cut = never) -> None:
        self.description = description
        self.asked = 0
        self._other = other
        self._instance = instance
        self._generation = generation
        self._is_cut = is_cut
        self._control: _Pipe | None = None

    async def pipe(self, kind: str) -> Pipe:
        inner = await self._other.connect(self._instance, kind)
        if kind != CONTROL:
            return inner
        self._control = _Pipe(inner, self._is_cut)
        return self._control

    async def has_arrived(self) -> bool:
        self.asked += 1
        if self._control:
            await self._control.close()
        await self._other.ensure_settled(self._instance)
        found = await self._other.domain(self._instance)
        return bool(found and found.generation >= self._generation)


class _Pipe:
    def __init__(self, inner: Pipe, is_cut: Cut) -> None:
        self._inner = inner
        self._is_cut = is_cut
        self._lock = asyncio.Lock()
        self._broken = False

    async def read(self) -> bytes:
        data = await self._inner.read()
        await self._check("back")
        return data

    async def write(self, data: bytes) -> None:
        await self._check("there")
        await self._inner.write(data)

    async def end(self) -> None:
        await self._inner.end()

    async def close(self) -> None:
        await self._inner.close()

    async def _check(self, direction: str) -> None:
        async with self._lock:
            self._broken = self._broken or await self._is_cut(direction)
        if self._broken:
            raise Unavailable("somebody pulled the cable", "test")
