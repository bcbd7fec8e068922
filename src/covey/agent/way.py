"""The ways to an agent: a socket of this machine, or the network."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2
from websockets.asyncio.client import ClientConnection, connect, unix_connect

from covey.base.config import parse_address
from covey.base.identity import agent_name

REQUEST_TIMEOUT_S = 20.0
SILENCE_S = 30.0  # over the network: an agent says something each 10 s, so this long a silence means that it is gone


class Way(Protocol):
    """`silence_s` is how long the stream may be silent; None where its end is always noticed."""

    @property
    def silence_s(self) -> float | None: ...

    def client(self) -> httpx2.AsyncClient: ...

    async def console(self, path: str) -> ClientConnection:
        """A WebSocket. Raises OSError and WebSocketException."""
        ...


@dataclass(frozen=True, slots=True)
class LocalWay:
    socket: Path

    @property
    def silence_s(self) -> float | None:
        return None

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket))
        return httpx2.AsyncClient(transport=transport, base_url="http://agent", timeout=REQUEST_TIMEOUT_S)

    async def console(self, path: str) -> ClientConnection:
        return await unix_connect(str(self.socket), f"ws://agent{path}", max_size=None, compression=None)


@dataclass(frozen=True, slots=True)
class NetworkWay:
    """To the agent of one node: whoever answers at `address` must prove to be the node with the id `node`."""

    address: str
    node: str
    context: ssl.SSLContext

    @property
    def silence_s(self) -> float | None:
        return SILENCE_S

    def client(self) -> httpx2.AsyncClient:
        transport = NamedTransport(agent_name(self.node), self.context)
        return httpx2.AsyncClient(
            transport=transport, base_url=f"https://{self.address}", timeout=REQUEST_TIMEOUT_S, trust_env=False
        )

    async def console(self, path: str) -> ClientConnection:
        host, port = parse_address(self.address)
        return await connect(
            f"wss://agent{path}",
            host=host,
            port=port,
            ssl=self.context,
            server_hostname=agent_name(self.node),
            max_size=None,
            compression=None,
            proxy=None,
        )


class NamedTransport(httpx2.AsyncHTTPTransport):
    """TLS to a server that is asked for by another name than its address."""

    def __init__(self, name: str, context: ssl.SSLContext, limits: httpx2.Limits = httpx2.Limits()) -> None:
        super().__init__(verify=context, limits=limits)
        self._name = name

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": self._name}
        return await super().handle_async_request(request)
