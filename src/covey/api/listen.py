"""The doors: a unix socket for this machine, TLS for the network, in the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from covey.api.door import CONTROLLER, HERE, PEER, App
from covey.api.problems import problem_response
from covey.base.config import parse_address
from covey.base.errors import BadInput, Refused, Unavailable, check
from covey.base.identity import CertificateFiles, door_context, identity_of
from covey.base.sockets import LINE
from covey.base.tls import server_context
from covey.controller.way import UNIX

BACKLOG = 1_024
END_S = 2  # what answers under way get when the doors close; streams end by themselves
LARGEST_FRAME = 1 << 16  # of a console's WebSocket
LARGEST_HEAD = 1 << 16  # bytes of a request before its body, or after it
HEAD_WITHIN_S = 20.0  # from a connection's first moment, or a request's first byte, to the end of its head
HANDSHAKE_WITHIN_S = 10.0
MOST_CONNECTIONS = 1_200  # of each door; one by TLS costs 0.3 MB, whoever is at its other end
MOST_IN_LINE = 64  # requests that a client sends before it has read the answer to the first
ACCEPT_AGAIN_S = 0.5
FOR_CONTROLLERS = "covey.for_controllers"  # marks connections of the door for controllers
START_LIMIT_S = 10.0
HEAR_S = 1.0
logger = structlog.get_logger()
_CREDENTIALS = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class _KnowsPeer:
    """Mix-in of protocols: who is at the other end goes into scope["state"], as the kernel says of a unix socket, and a certificate at
    the door for controllers. Nobody else can put it there."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        end = transport.get_extra_info("socket")
        self.app_state = {**self.app_state, LINE: end}
        if self.app_state.get(FOR_CONTROLLERS):
            self.app_state = {**self.app_state, CONTROLLER: _controller_at(end, transport.get_extra_info("peercert"))}
        elif end is not None and end.family == socket.AF_UNIX:
            self.app_state = {**self.app_state, PEER: _uid_at(end)}
        super().connection_made(transport)  # type: ignore[misc]


def _uid_at(end: Any) -> int:
    _, uid, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _controller_at(end: Any, certificate: Any) -> str:
    """The node whose controller has connected; "" for anybody else."""
    if end is not None and end.family == socket.AF_UNIX:
        return HERE if _uid_at(end) in (0, os.geteuid()) else ""
    return identity_of(certificate).controller


class _Overdone(Exception):
    """More than one connection may take."""


class Http(_KnowsPeer, HttpToolsProtocol):
    """HTTP whose cost is bounded before anybody knows who asks: the parser itself takes heads without end."""

    is_unheard = True  # it has asked nothing yet
    _patience: asyncio.TimerHandle | None = None
    _unused = 0  # bytes that came since the last end of a head, piece of a body or end of a request

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unused += len(data)
        super().data_received(data)
        if self._unused > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(BadInput(f"the head is larger than {LARGEST_HEAD} bytes", "request", "send fewer and shorter headers"))

    def on_message_begin(self) -> None:
        self.is_unheard = False
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._unused = 0
        self._end_patience()
        if len(self.pipeline) >= MOST_IN_LINE:
            raise _Overdone
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unused = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._end_patience()
        self._patience = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()  # an orderly end of TLS would wait for the other side

    def _end_patience(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an error of our shape, too."""
        self._refuse(BadInput("this is no HTTP request", "request", "speak HTTP/1.1"))

    def _refuse(self, error: BadInput) -> None:
        body = bytes(problem_response(error).body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()


class Console(_KnowsPeer, WebSocketsSansIOProtocol):
    """WebSockets of consoles."""


class _Server(uvicorn.Server):
    """`marks` go into scope["state"]. A server that leaves the signals to the daemon, says when it listens, and takes in no more connections than it can bear."""

    def __init__(self, config: uvicorn.Config, marks: dict[str, Any]) -> None:
        super().__init__(config)
        self._marks = marks
        self.listens = asyncio.Event()
        self._arriving: set[asyncio.Task[None]] = set()  # connections that are not through their handshake
        self._open: list[socket.socket] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, which takes in whatever comes."""
        await self.lifespan.startup()
        self.servers = []
        self._open = list(sockets or ())
        for door in self._open:
            asyncio.get_running_loop().add_reader(door, self._take_in, door)
        self.started = True
        self.listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self._open:
            asyncio.get_running_loop().remove_reader(door)
        self._open.clear()
        await self._hear_newcomers()
        for newcomer in self._arriving:
            newcomer.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await super().shutdown(sockets)

    async def _hear_newcomers(self) -> None:
        """Who has come in is heard, else it would not know whether what it asked was done. For a moment only."""
        deadline = asyncio.get_running_loop().time() + HEAR_S
        while asyncio.get_running_loop().time() < deadline:
            silent = any(isinstance(one, Http) and one.is_unheard for one in self.server_state.connections)
            if not silent and not self._arriving:
                return
            await asyncio.sleep(0.01)

    def _take_in(self, door: socket.socket) -> None:
        """Somebody is at the door: nobody who was let in is forgotten, whenever the doors close."""
        try:
            newcomer, _ = door.accept()
        except BlockingIOError:
            return  # it went away in the queue
        except OSError as error:  # no more files may be open (accept(2))
            logger.warning("a connection cannot be taken in", error=str(error))
            loop = asyncio.get_running_loop()
            loop.remove_reader(door)
            loop.call_later(ACCEPT_AGAIN_S, self._look_again, door)
            return
        newcomer.setblocking(False)
        if len(self.server_state.connections) + len(self._arriving) >= MOST_CONNECTIONS:
            newcomer.close()
            return
        task = asyncio.create_task(self._welcome(newcomer))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _look_again(self, door: socket.socket) -> None:
        if door in self._open:
            asyncio.get_running_loop().add_reader(door, self._take_in, door)

    async def _welcome(self, newcomer: socket.socket) -> None:
        def protocol() -> Http:
            return Http(self.config, self.server_state, {**self.lifespan.state, **self._marks})

        limit = HANDSHAKE_WITHIN_S if self.config.ssl else None
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # TLS fails, or takes too long: its end has gone or is none of ours
            await loop.connect_accepted_socket(protocol, newcomer, ssl=self.config.ssl, ssl_handshake_timeout=limit)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Address:
    """Where the network door is. `files` are of base.tls.ensure_server_certificate."""

    host: str
    port: int
    files: CertificateFiles


@dataclass(frozen=True, slots=True)
class ControllersDoor:
    """The door for controllers: HOST:PORT with the certificate of this one, or the path of a socket after "unix:"."""

    address: str
    files: CertificateFiles | None = None


class Doorways:
    """The sockets of the doors that clients know. They may outlive who serves there: whoever comes meanwhile waits in the queue."""

    def __init__(self) -> None:
        self._here: tuple[Path, socket.socket] | None = None
        self._network: tuple[str, int, socket.socket] | None = None

    async def here(self, path: Path) -> socket.socket:
        """Raises Refused, Unavailable."""
        if self._here is None:
            self._here = path, await _unix_socket(path)
        return self._here[1].dup()

    def network(self, address: Address) -> socket.socket:
        """Raises Unavailable."""
        if self._network and self._network[:2] != (address.host, address.port):
            self._network[2].close()
            self._network = None
        if self._network is None:
            self._network = address.host, address.port, _tcp_socket(address.host, address.port)
        return self._network[2].dup()

    def close(self) -> None:
        if self._here:
            self._here[0].unlink(missing_ok=True)
            self._here[1].close()
        if self._network:
            self._network[2].close()
        self._here = self._network = None


@contextlib.asynccontextmanager
async def listening(
    app: App,
    path: Path,
    closing: asyncio.Event,
    address: Address | None = None,
    controllers: ControllersDoor | None = None,
    doorways: Doorways | None = None,
) -> AsyncIterator[int]:
    """The doors are open within: the unix socket `path` (0600), and TLS at `address`, whose port is yielded (0 without one; port 0 takes
    a free one), and the one for controllers. `doorways` are the caller's to close. On leaving, `closing` is set, so that streams end, and all is over within 3 s. Raises Refused when somebody else listens
    there, Unavailable when a door cannot be opened."""
    ways = doorways or Doorways()
    doors: list[tuple[socket.socket, ssl.SSLContext | None, dict[str, Any]]] = []
    try:
        doors.append((await ways.here(path), None, {}))
        if address:
            doors.append((ways.network(address), server_context(address.files), {}))
        if controllers:
            doors.append((*await _for_controllers(controllers), {FOR_CONTROLLERS: True}))
    except BaseException:
        for door, _, _ in doors:
            door.close()
        if doorways is None:
            ways.close()
        raise
    port = doors[1][0].getsockname()[1] if address else 0
    servers = [_Server(_config(app, context), marks) for _, context, marks in doors]
    tasks = [asyncio.create_task(server.serve([door])) for server, (door, _, _) in zip(servers, doors, strict=True)]
    try:
        async with asyncio.timeout(START_LIMIT_S):
            for server in servers:
                await server.listens.wait()
        yield port
    finally:
        if doorways is None:
            ways.close()
        if controllers and controllers.address.startswith(UNIX):
            Path(controllers.address.removeprefix(UNIX)).unlink(missing_ok=True)
        closing.set()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def _config(app: App, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Http,
        ws=Console,
        ws_max_size=LARGEST_FRAME,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=END_S,
        ssl_context_factory=(lambda config, default: context) if context else None,
    )


async def _for_controllers(door: ControllersDoor) -> tuple[socket.socket, ssl.SSLContext | None]:
    """Raises Refused, Unavailable; BadInput for an address that is none."""
    if door.address.startswith(UNIX):
        return await _unix_socket(Path(door.address.removeprefix(UNIX))), None
    check(door.files, BadInput("the door for controllers needs a certificate", door.address))
    return _tcp_socket(*parse_address(door.address)), door_context(door.files)  # type: ignore[arg-type]


async def _unix_socket(path: Path) -> socket.socket:
    """Made under another name and put in place when it is closed to all but root, so that nobody slips in before."""
    if path.exists():
        await asyncio.to_thread(_check_abandoned, path)
        path.unlink()
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.bind(str(temporary))
        temporary.chmod(0o600)
        door.listen(BACKLOG)
        door.setblocking(False)
        temporary.rename(path)
    except OSError as error:
        door.close()
        raise Unavailable(
            f"the socket cannot be made: {error.strerror or error}", str(path), "use a state directory with a short path"
        ) from error
    return door


def _check_abandoned(path: Path) -> None:
    """Raises Refused when a process answers at the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise Refused("somebody listens there already", str(path), "is Covey running? use another --state, or stop the other one")


def _tcp_socket(host: str, port: int) -> socket.socket:
    """Raises Unavailable."""
    door: socket.socket | None = None
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST)
        family, kind, protocol, _, where = info[0]
        door = socket.socket(family, kind, protocol)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(where)
        door.listen(BACKLOG)
    except OSError as error:
        if door:
            door.close()
        hint = "give an address of this machine and a free port: --listen 0.0.0.0:7443"
        raise Unavailable(f"cannot listen there: {error.strerror or error}", f"{host}:{port}", hint) from error
    door.setblocking(False)
    return door
