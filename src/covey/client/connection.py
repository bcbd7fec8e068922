"""One kept-alive HTTP connection to the server, with time limits; every failure is an error of covey.base.errors."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from covey.base.errors import BadInput, CoveyError, Denied, Unavailable, check
from covey.client.door import Door, LocalDoor, RemoteDoor, find_door
from covey.client.problem import error_of
from covey.client.stream import ServerEvent, parse_events

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 60.0
TAKEN_IN_LIMIT_S = 600.0  # an image is looked at when it has come, a disk before it goes
SILENCE_LIMIT_S = 45.0  # of a stream: the server sends a comment every 15 s
_GONE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    data: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.data)
        except ValueError as error:
            raise Unavailable("the server's answer is not understood", "covey", "is this Covey's address?") from error

    @property
    def at(self) -> float | None:
        """When the server gave it, seconds since the epoch by its own clock; None when it does not say."""
        try:
            return parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return None


def path_of(*parts: object) -> str:
    """The path of something in the API: path_of("instances", "web1", "start"). Raises BadInput for what no URL can hold."""
    try:
        return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)
    except UnicodeEncodeError as error:
        raise BadInput(f"{parts[-1]!r} is not text", "", "write it in UTF-8") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def trusted(ca: str) -> ssl.SSLContext:
    """TLS that trusts this one authority and no other. Raises BadInput when the file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            "the authority's certificate cannot be read", ca, "copy ca.pem from the server, name it in COVEY_CA"
        ) from error
    return context


class Connection:
    """Not for use by several threads at once."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._http: http.client.HTTPConnection | None = None

    @staticmethod
    def find(environ: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Connection:
        """The server that `options` or the environment name (see find_door); nothing is opened yet."""
        return Connection(find_door(environ, options or {}))

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, so that paths mean the same on both sides."""
        return isinstance(self.door, LocalDoor)

    def close(self) -> None:
        if self._http:
            self._http.close()
            self._http = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_LIMIT_S,
    ) -> Answer:
        """Ask and read the whole answer. A connection that the server closed meanwhile is opened once more, so what is asked must be
        safe to ask twice. Raises the error that the answer tells, Unavailable when there is none within `timeout_s`."""
        try:
            kept = self._http is not None
            try:
                answer = self._ask(method, _target(path, query), body, headers, timeout_s)
            except _GONE:
                if not kept:
                    raise
                self.close()
                answer = self._ask(method, _target(path, query), body, headers, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._no_answer(error) from error
        except BaseException:
            self.close()  # interrupted half way: the next answer on it would be this one's
            raise
        if answer.status >= 400:
            raise error_of(answer.status, answer.data)
        return answer

    def _ask(self, method: str, target: str, body: object, headers: Mapping[str, str] | None, timeout_s: float) -> Answer:
        if self._http is None:
            self._http = self._open()
        if self._http.sock:
            self._http.sock.settimeout(timeout_s)
        self._http.request(method, target, _encode(body), self._headers(headers, body is not None))
        response = self._http.getresponse()
        return Answer(response.status, response.headers, response.read())

    def send(
        self, path: str, pieces: Iterable[bytes], length: int | None, *, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> Answer:
        """POST bytes, as they come, on a connection of its own; `length` None when it is not known. The server may answer before it has
        read all. Raises the error that the answer tells, or Unavailable."""
        sized = {"Content-Length": str(length)} if length is not None else {}
        more = {"Content-Type": "application/octet-stream", **sized, **headers}
        opened: http.client.HTTPConnection | None = None
        try:
            opened = self._open()
            with suppress(BrokenPipeError, ConnectionResetError):  # it reads no more, and says why
                body, chunked = iter(pieces), length is None
                opened.request("POST", _target(path, query), body, self._headers(more, has_body=False), encode_chunked=chunked)
            opened.sock.settimeout(TAKEN_IN_LIMIT_S)
            response = opened.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error
        finally:
            if opened:
                opened.close()
        if answer.status >= 400:
            raise error_of(answer.status, answer.data)
        return answer

    @contextmanager
    def fetch(self, path: str, *, query: Mapping[str, object]) -> Iterator[Incoming]:
        """Bytes as they come, on a connection of its own. Raises the error of the answer, or Unavailable."""
        opened: http.client.HTTPConnection | None = None
        try:
            try:
                opened = self._open()
                opened.sock.settimeout(TAKEN_IN_LIMIT_S)
                opened.request("GET", _target(path, query), None, self._headers({"Accept": "*/*"}, has_body=False))
                response = opened.getresponse()
                if response.status >= 400:
                    raise error_of(response.status, response.read())
            except (OSError, http.client.HTTPException) as error:
                raise self._no_answer(error) from error
            yield Incoming(self.door, response)
        finally:
            if opened:
                opened.close()

    @contextmanager
    def events(self, path: str, *, last: str = "", query: Mapping[str, object] | None = None) -> Iterator[EventStream]:
        """A stream of server-sent events on a connection of its own; `last` is the id of the last one seen. Raises the error of the
        answer, or Unavailable."""
        opened: http.client.HTTPConnection | None = None
        response: http.client.HTTPResponse | None = None
        try:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            try:
                opened = self._open()
                line = opened.sock
                opened.request("GET", _target(path, query), None, self._headers(headers, has_body=False))
                response = opened.getresponse()
                if response.status >= 400:
                    raise error_of(response.status, response.read())
            except (OSError, http.client.HTTPException) as error:
                raise self._no_answer(error) from error
            yield EventStream(self, line, response)
        finally:
            if response:
                response.close()
            if opened:
                opened.close()

    def _open(self) -> http.client.HTTPConnection:
        door = self.door
        opened: http.client.HTTPConnection
        if isinstance(door, RemoteDoor):
            opened = http.client.HTTPSConnection(door.host, door.port, timeout=CONNECT_LIMIT_S, context=trusted(door.ca))
        else:
            opened = _UnixConnection(door.socket, CONNECT_LIMIT_S)
        opened.connect()
        opened.sock.settimeout(ANSWER_LIMIT_S)
        return opened

    def _headers(self, more: Mapping[str, str] | None, has_body: bool) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if has_body:
            headers["Content-Type"] = "application/json"
        if isinstance(self.door, RemoteDoor):
            headers["Authorization"] = f"Bearer {self.door.token}"
        return {**headers, **(more or {})}

    def _no_answer(self, error: Exception) -> CoveyError:
        return no_answer(self.door, error)


class Incoming:
    """Bytes that a server sends; it has said how many."""

    def __init__(self, door: Door, response: http.client.HTTPResponse) -> None:
        self._door = door
        self._response = response
        self.length = int(response.headers["Content-Length"])
        self.came = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end. Raises Unavailable when they break off."""
        try:
            data = self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise no_answer(self._door, error) from error
        self.came += len(data)
        broken = len(data) < size and self.came < self.length
        check(
            not broken,
            Unavailable(f"it broke off after {self.came} of {self.length} bytes", str(self._door), "try again; see its log"),
        )
        return data


class EventStream:
    """An open stream: next() with a limit, so that waiting can end."""

    def __init__(self, connection: Connection, line: socket.socket, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._line = line
        self._response = response
        self._limit_s = SILENCE_LIMIT_S
        self._events = parse_events(self._lines())

    def next(self, limit_s: float = SILENCE_LIMIT_S) -> ServerEvent | None:
        """The next event, None when the server ended the stream. Raises Unavailable when it broke off or was silent for `limit_s`
        (the server's keepalives count as sound)."""
        self._limit_s = max(0.001, min(limit_s, SILENCE_LIMIT_S))
        return next(self._events, None)

    def _lines(self) -> Iterator[bytes]:
        try:
            while True:
                self._line.settimeout(self._limit_s)
                line = self._response.readline()
                if not line:
                    return
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise no_answer(self._connection.door, error) from error


def no_answer(door: Door, error: Exception) -> CoveyError:
    """What a failure to reach the server, or to hear from it, means to a person."""
    local = isinstance(door, LocalDoor)
    running = f"is it running? {door.started_by}" if isinstance(door, LocalDoor) else "is it running, and is that its address?"
    if isinstance(error, PermissionError):
        return Denied("you may not open its socket", str(door), "be root, or come with COVEY_SERVER and COVEY_TOKEN_FILE")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Denied(
            f"its certificate is not trusted: {error.verify_message}", str(door), "copy its ca.pem anew, name it in COVEY_CA"
        )
    if isinstance(error, TimeoutError):
        return Unavailable("it gives no answer in time", str(door), "is the machine overloaded? try again; see: covey job list")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and local:
        return Unavailable("no Covey answers there", str(door), running)
    if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return Unavailable("it broke off before it answered", str(door), f"{running}; what was asked may go on: covey job list")
    return Unavailable(f"it cannot be reached: {getattr(error, 'strerror', None) or error}", str(door), running)


def _target(path: str, query: Mapping[str, object] | None) -> str:
    present = {key: value for key, value in (query or {}).items() if value not in (None, "")}
    try:
        return f"{path}?{urlencode(present)}" if present else path
    except UnicodeEncodeError as error:
        raise BadInput("what was typed is not text", "", "write it in UTF-8") from error


def _encode(body: object) -> bytes | None:
    return None if body is None else json.dumps(body).encode()
