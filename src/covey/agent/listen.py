"""Where the agent listens: a unix socket for this machine's root, and TLS for the controllers of the cluster that it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from covey.agent.membership import Memberships, listening_socket
from covey.base.config import parse_address
from covey.base.errors import CoveyError
from covey.base.identity import Identity, door_context, identity_of
from covey.base.sockets import LINE

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
PEER = "covey.peer"  # in scope["state"]: the Identity of whoever came over the network, as TLS has verified it
TRY_AGAIN_S = 2.0
LOOK_EVERY_S = 5.0  # whether the machine still has its address
EVERYWHERE = "[::]"
log = structlog.get_logger()


class _KnowsPeer:
    """Mix-in of protocols: who is at the other end goes into scope["state"]. Nobody else can put it there."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        end = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, LINE: transport.get_extra_info("socket")}
        if end is not None:
            self.app_state = {**self.app_state, PEER: identity_of(end.getpeercert())}
        super().connection_made(transport)  # type: ignore[misc]


class _Http(_KnowsPeer, HttpToolsProtocol):
    pass


class _Console(_KnowsPeer, WebSocketsSansIOProtocol):
    pass


class _Server(uvicorn.Server):
    """Signals are ours to handle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Doors:
    """The unix socket is open from the beginning; the network's door whenever the machine belongs to a cluster."""

    def __init__(
        self,
        app: App,
        path: Path,
        memberships: Memberships,
        hang_up: Callable[[], None],
        note: Callable[[str, str], None] = lambda about, trouble: None,
    ) -> None:
        """`hang_up` ends the stream to a leader: else a door that closes would have to cut it. `note` has a person told of trouble with
        something, "" when it is over."""
        self._app = app
        self._path = path
        self._memberships = memberships
        self._hang_up = hang_up
        self._note = note

    def open(self) -> socket.socket:
        """The unix socket, which takes callers from here on."""
        return _unix_socket(self._path)

    async def serve(self, local: socket.socket) -> None:
        """Until cancelled, which ends the answers under way within a second."""
        servers = [asyncio.create_task(_serve(self._app, local)), asyncio.create_task(self._serve_network())]
        try:
            await asyncio.wait(servers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for server in servers:
                server.cancel()
            await asyncio.gather(*servers, return_exceptions=True)

    async def _serve_network(self) -> None:
        """A door at each address that is wanted; all are opened anew when the certificate is another one."""
        doors: dict[str, asyncio.Task[None]] = {}
        shown = 0
        try:
            while True:
                self._memberships.changed.clear()
                wanted = self._wanted()
                kept = wanted if self._memberships.shown == shown else ()
                await self._close([doors.pop(address) for address in list(doors) if address not in kept])
                shown = self._memberships.shown
                doors |= {address: asyncio.create_task(self._be_open(address)) for address in wanted if address not in doors}
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._memberships.changed.wait()
        finally:
            await self._close(list(doors.values()))

    def _wanted(self) -> tuple[str, ...]:
        """Where to listen. A machine that has lost the address by which the cluster calls it listens on all that it has instead: so it can be
        told its new one."""
        present = self._memberships.present
        if present is None or _is_here(present.address):
            self._note("address", "")
            return present.listens_at if present else ()
        host, port = parse_address(present.address)
        lost = f"{host} is none of its addresses any more: covey node modify {present.name} --address NEW tells the cluster"
        self._note("address", lost)
        return (f"{EVERYWHERE}:{port}",)

    async def _close(self, doors: list[asyncio.Task[None]]) -> None:
        if doors:
            self._hang_up()
            for door in doors:
                door.cancel()
            await asyncio.gather(*doors, return_exceptions=True)

    async def _be_open(self, address: str) -> None:
        while True:
            try:
                context = door_context(self._memberships.files)
                listener = _everywhere(address) if address.startswith(EVERYWHERE) else listening_socket(address)
            except (OSError, ssl.SSLError, CoveyError) as error:
                log.warning("cannot listen for the cluster; trying again", address=address, error=str(error))
                await asyncio.sleep(TRY_AGAIN_S)
                continue
            log.info("listens for the cluster", address=address)
            await _serve(_Guarded(self._app, self._memberships), listener, context)


class _Guarded:
    """ASGI middleware of the network's door: orders come from controllers of the cluster, and from nobody else."""

    def __init__(self, app: App, memberships: Memberships) -> None:
        self._app = app
        self._memberships = memberships

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            self._memberships.check_may_order(scope.get("state", {}).get(PEER, Identity()))
        except CoveyError as error:
            response = JSONResponse(error.to_json(), status_code=error.status)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _serve(app: App, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
    config = uvicorn.Config(
        app,
        http=_Http,
        ws=_Console,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ssl_context_factory=(lambda config, default: context) if context else None,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
        listener.close()


def _is_here(address: str) -> bool:
    """Whether the machine has the address of HOST:PORT."""
    try:
        listening_socket(f"{address.rpartition(':')[0]}:0").close()
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def _everywhere(address: str) -> socket.socket:
    """A socket at the port of HOST:PORT, on all addresses of the machine. Raises OSError."""
    both = socket.has_dualstack_ipv6()
    return socket.create_server(
        ("", parse_address(address)[1]), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    )


def _unix_socket(path: Path) -> socket.socket:
    """A listening unix socket for its owner only. One that a killed process left is replaced; the caller holds a lock that keeps a
    second process from here."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener
