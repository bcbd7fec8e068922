"""A guest's serial console over a WebSocket: bytes both ways. The only user of the `websockets` library here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from covey.base.errors import Unavailable
from covey.client.connection import CONNECT_LIMIT_S, Connection, no_answer, path_of, trusted
from covey.client.door import RemoteDoor
from covey.client.problem import error_of

_CLEAN = (1000, 1001)  # codes of a proper end (RFC 6455, section 7.4)


class Console:
    def __init__(self, socket: ClientConnection, instance: str) -> None:
        self._socket = socket
        self._instance = instance

    def read(self, timeout_s: float | None = None) -> bytes:
        """The next piece of what the guest writes; b"" at the proper end. Raises TimeoutError, Unavailable when it broke off."""
        try:
            message = self._socket.recv(timeout_s)
        except ConnectionClosed as error:
            received = error.rcvd
            if received is not None and received.code in _CLEAN:
                return b""
            why = received.reason if received is not None and received.reason else "the connection broke off"
            raise Unavailable(why, f"console of instance {self._instance}", f"covey instance console {self._instance}") from error
        return message if isinstance(message, bytes) else message.encode()

    def write(self, data: bytes) -> bool:
        """Type. False when the console has ended."""
        try:
            self._socket.send(data)
        except ConnectionClosed:
            return False
        return True


@contextmanager
def open_console(connection: Connection, instance: str) -> Iterator[Console]:
    """Raises NotFound, Refused, Denied, Unavailable as the server answers."""
    path = path_of("instances", instance, "console")
    quiet = logging.getLogger("covey.client.console")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    door = connection.door
    try:
        if isinstance(door, RemoteDoor):
            socket = connect(
                f"wss://{door.authority}{path}",
                ssl=trusted(door.ca),
                additional_headers={"Authorization": f"Bearer {door.token}"},
                compression=None,
                proxy=None,
                open_timeout=CONNECT_LIMIT_S,
                logger=quiet,
            )
        else:
            socket = unix_connect(
                door.socket, f"ws://localhost{path}", compression=None, proxy=None, open_timeout=CONNECT_LIMIT_S, logger=quiet
            )
    except InvalidStatus as error:
        raise error_of(error.response.status_code, bytes(error.response.body or b"")) from error
    except (OSError, WebSocketException) as error:
        raise no_answer(door, error) from error
    with socket:
        yield Console(socket, instance)
