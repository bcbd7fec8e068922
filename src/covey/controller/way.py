"""The way from one controller to another: to the door that each keeps for controllers alone.

By TLS both show a certificate of the cluster's own authority, which names the node (base.identity). Who passes a request on checks that it
speaks to the very node that leads; who leads believes what is passed on only from a controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import httpx2
from websockets.asyncio.client import ClientConnection, connect, unix_connect

from covey.agent.way import NamedTransport
from covey.base.config import parse_address
from covey.base.identity import CertificateFiles, caller_context, controller_name

CONNECT_WITHIN_S = 2.0
LIMITS = httpx2.Limits(max_keepalive_connections=20)  # how many requests are passed on at once is bounded where they come in
UNIX = "unix:"  # begins an address that is the path of a socket on this machine


class Way(Protocol):
    """To the controller of one node."""

    @property
    def client(self) -> httpx2.AsyncClient: ...

    def console(self, path: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ClientConnection]:
        """A WebSocket. Raises what websockets raises."""
        ...

    async def close(self) -> None: ...


class _Way:
    def __init__(self, transport: httpx2.AsyncHTTPTransport, dial: Any, base: str) -> None:
        patience = httpx2.Timeout(None, connect=CONNECT_WITHIN_S)
        self.client = httpx2.AsyncClient(transport=transport, base_url=f"http{base}", timeout=patience, trust_env=False)
        self._dial = dial
        self._base = f"ws{base}"

    def console(self, path: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[ClientConnection]:
        found: AbstractAsyncContextManager[ClientConnection] = self._dial(
            uri=f"{self._base}{path}",
            additional_headers=dict(headers),
            max_size=None,
            compression=None,
            open_timeout=None,
            proxy=None,
        )
        return found

    async def close(self) -> None:
        await self.client.aclose()


def way_to(node: str, address: str, files: CertificateFiles) -> Way:
    """To the controller of a node (an id) at an address: HOST:PORT, or the path of a socket after "unix:"."""
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        return _Way(httpx2.AsyncHTTPTransport(uds=path, limits=LIMITS), partial(unix_connect, path), "://controller")
    host, port = parse_address(address)
    context, name = caller_context(files), controller_name(node)
    dial = partial(connect, host=host, port=port, ssl=context, server_hostname=name)
    return _Way(NamedTransport(name, context, LIMITS), dial, f"s://{address}")
