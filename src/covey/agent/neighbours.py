"""The agents of other nodes, as this one reaches them: by their door for the cluster, over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import structlog

from covey.base.errors import CoveyError, Unavailable, from_json
from covey.base.identity import CertificateFiles, caller_context
from covey.host.migration.protocol import CONTROL, Destination, Offer, Passage, Pipe
from covey.model import codec

if TYPE_CHECKING:  # agents take it in only when a guest moves: idle ones are to be small
    from websockets.asyncio.client import ClientConnection

ASK_AGAIN_S = 1.0
ASK_LIMIT_S = 60.0  # a guest that is half-way there settles first
END = b""  # a message that says that no more is sent this way
log = structlog.get_logger()


class AgentNeighbours:
    """`identity` is what this node shows to others."""

    def __init__(self, identity: CertificateFiles) -> None:
        self._identity = identity

    @contextlib.asynccontextmanager
    async def passage(self, to: Destination, offer: Offer) -> AsyncIterator[Passage]:
        async with self._connected(to, f"/arrivals/{offer.domain.instance}/{CONTROL}") as socket:
            answer = await _asked(socket, json.dumps(codec.encode(offer)), to)
            yield _Passage(self, to, offer, answer["description"], socket)

    async def has_arrived_at(self, to: Destination, instance: str, generation: int) -> bool:
        async with self._connected(to, f"/arrivals/{instance}/truth") as socket:
            return bool((await _asked(socket, json.dumps({"generation": generation}), to))["arrived"])

    @contextlib.asynccontextmanager
    async def _connected(self, to: Destination, path: str) -> AsyncIterator[ClientConnection]:
        from websockets.exceptions import WebSocketException

        from covey.agent.way import NetworkWay

        try:
            socket = await NetworkWay(to.address, to.node, caller_context(self._identity)).console(path)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise Unavailable(f"it cannot be reached: {error}", f"node {to.name}", "see: covey node list") from error
        try:
            yield socket
        finally:
            await socket.close()


class _Passage:
    def __init__(
        self, neighbours: AgentNeighbours, to: Destination, offer: Offer, description: str, control: ClientConnection
    ) -> None:
        self.description = description
        self._neighbours = neighbours
        self._to = to
        self._offer = offer
        self._control = control

    async def pipe(self, kind: str) -> Pipe:
        if kind == CONTROL:
            return SocketOverWeb(self._control.recv, self._control.send, self._nothing, self._to.name)
        stack = contextlib.AsyncExitStack()
        path = f"/arrivals/{self._offer.domain.instance}/{kind}"
        socket = await stack.enter_async_context(self._neighbours._connected(self._to, path))
        return SocketOverWeb(socket.recv, socket.send, stack.aclose, self._to.name)

    async def has_arrived(self) -> bool:
        """The passage ends first: the other machine says nothing of a guest that is still coming."""
        await self._control.close()
        while True:
            try:
                return await self._neighbours.has_arrived_at(self._to, self._offer.domain.instance, self._offer.generation)
            except CoveyError as error:
                log.warning("nobody knows whether the guest has arrived; asking again", node=self._to.name, error=str(error))
                await asyncio.sleep(ASK_AGAIN_S)

    @staticmethod
    async def _nothing() -> None:
        """The control connection ends with the passage."""


class SocketOverWeb:
    """A Pipe over one WebSocket, whichever end of it: an empty message is the end of what is sent."""

    def __init__(
        self, receive: Callable[..., object], send: Callable[..., object], close: Callable[[], object], name: str
    ) -> None:
        self._receive = receive
        self._send = send
        self._close = close
        self._name = name

    async def read(self) -> bytes:
        data = await self._tried(self._receive)
        return data if isinstance(data, bytes) else END

    async def write(self, data: bytes) -> None:
        await self._tried(self._send, data)

    async def end(self) -> None:
        await self._tried(self._send, END)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._close()  # type: ignore[misc]

    async def _tried(self, call: Callable[..., object], *arguments: object) -> object:
        try:
            return await call(*arguments)  # type: ignore[misc]
        except CoveyError:
            raise
        except Exception as error:
            raise Unavailable(f"the way to it broke: {error or type(error).__name__}", f"node {self._name}") from error


async def _asked(socket: ClientConnection, question: str, to: Destination) -> dict[str, Any]:
    """The answer of the other agent. Raises what it refuses with, and Unavailable."""
    from websockets.exceptions import WebSocketException

    try:
        async with asyncio.timeout(ASK_LIMIT_S):
            await socket.send(question)
            answer: dict[str, Any] = json.loads(await socket.recv())
    except (OSError, WebSocketException, TimeoutError) as error:
        raise Unavailable(f"it does not answer: {error}", f"node {to.name}", "see: covey node list") from error
    if answer.get("error"):
        raise from_json(answer["error"])
    return answer
