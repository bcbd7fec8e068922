"""The ways between the agents of a world: each call takes its time, and breaks with the process at either end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from covey.agent.agent import Agent
from covey.base.errors import CoveyError, Unavailable, check
from covey.host.migration.protocol import Destination, Offer, Passage, Pipe

if TYPE_CHECKING:
    from tests.simulation.processes import AgentProcess
    from tests.simulation.world import World

T = TypeVar("T")
ASK_AGAIN_S = 1.0


class SimulatedNeighbours:
    """As one process of an agent reaches the others; `turn` is that process' own: it never comes for a dead one."""

    def __init__(self, world: World, node: str, turn: Callable[[str], Awaitable[None]]) -> None:
        self._world = world
        self._node = node
        self._turn = turn

    @contextlib.asynccontextmanager
    async def passage(self, to: Destination, offer: Offer) -> AsyncIterator[Passage]:
        await self._turn("before passage")
        other = self._agent_at(to)
        opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()

        async def let_in() -> None:
            async with other.agent.arrivals.admitted(self._node, offer) as description:
                opened.set_result(description)
                await over.wait()

        async def close() -> None:
            over.set()
            await asyncio.wait({there})
            with contextlib.suppress(CoveyError, asyncio.CancelledError):
                there.result()

        there = asyncio.create_task(let_in())
        try:
            both: set[asyncio.Future[Any]] = {there, opened}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                await _of(there)
            yield _Passage(self, other, to, offer, opened.result(), close)
        finally:
            await close()

    async def has_arrived_at(self, to: Destination, instance: str, generation: int) -> bool:
        return await self.ask(self._agent_at(to), lambda agent: agent.arrivals.has_arrived(instance, generation))

    async def ask(self, other: AgentProcess, question: Callable[[Agent], Coroutine[Any, Any, T]]) -> T:
        """What another process answers. Raises Unavailable when it dies over it."""
        await self._turn("before a call")
        check(other.alive, Unavailable("it does not answer", f"node {other.node}"))
        answer = await _of(asyncio.create_task(question(other.agent)))
        check(other.alive, Unavailable("it does not answer", f"node {other.node}"))
        await self._turn("after a call")
        return answer

    def _agent_at(self, to: Destination) -> AgentProcess:
        process = self._world.agents.get(to.node)
        if process is None or not process.alive or not process.paused.is_set():
            raise Unavailable("it does not answer", f"node {to.name}")
        return process


class _Passage:
    def __init__(
        self,
        neighbours: SimulatedNeighbours,
        other: AgentProcess,
        to: Destination,
        offer: Offer,
        description: str,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.description = description
        self._neighbours = neighbours
        self._other = other
        self._to = to
        self._offer = offer
        self._close = close

    async def pipe(self, kind: str) -> Pipe:
        instance = self._offer.domain.instance
        source = self._neighbours._node
        pipe = await self._neighbours.ask(self._other, lambda agent: agent.arrivals.connect(source, instance, kind))
        return _Pipe(self._neighbours, self._other, pipe)

    async def has_arrived(self) -> bool:
        await self._close()
        while True:
            try:
                return await self._neighbours.has_arrived_at(self._to, self._offer.domain.instance, self._offer.generation)
            except Unavailable:
                await asyncio.sleep(ASK_AGAIN_S)
                await self._neighbours._turn("before a call")


class _Pipe:
    def __init__(self, neighbours: SimulatedNeighbours, other: AgentProcess, pipe: Pipe) -> None:
        self._neighbours = neighbours
        self._other = other
        self._pipe = pipe

    async def read(self) -> bytes:
        return await self._neighbours.ask(self._other, lambda _: _called(self._pipe.read))

    async def write(self, data: bytes) -> None:
        await self._neighbours.ask(self._other, lambda _: _called(self._pipe.write, data))

    async def end(self) -> None:
        await self._pipe.end()

    async def close(self) -> None:
        await self._pipe.close()


async def _called(call: Callable[..., Awaitable[T]], *arguments: object) -> T:
    return await call(*arguments)


async def _of(task: asyncio.Task[T]) -> T:
    """What a task of another process returns. Raises what it raises, and Unavailable when its process died over it."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        raise Unavailable("it died over it", "agent")
    return task.result()
