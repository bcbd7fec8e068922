"""A server that answers what it was told to, over a unix socket: the contract of the API without Covey behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DATE = "Fri, 20 Nov 2026 05:30:00 GMT"


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # in place of JSON
    cut: bool = False  # the connection breaks off after it
    short: int = 0  # only so many bytes of it come


@dataclass(frozen=True)
class Stream:
    """Server-sent events: name, data and id of each. `hold` keeps the stream open afterwards."""

    events: tuple[tuple[str, Any, str], ...]
    hold: bool = False


Answer = Reply | Stream | Callable[[Asked], "Reply | Stream"]


def problem(kind: str, status: int, detail: str, object: str = "", hint: str = "") -> Reply:
    body = {"type": f"https://covey.invalid/errors/{kind}", "title": kind, "status": status}
    return Reply(status, {**body, "detail": detail, "object": object, "hint": hint})


class FakeServer:
    """`answers[method, path]` is what comes; the last of several is repeated."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.asked: list[Asked] = []
        self.ending = threading.Event()
        self.reads_at_most = 2**40  # bytes of a body; then the connection ends with the answer

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Plain JSON values are answered with 200."""
        self.answers[method, path] = [a if isinstance(a, Reply | Stream) or callable(a) else Reply(200, a) for a in answers]

    def collection(self, collection: str, items: list[dict[str, Any]]) -> None:
        """A list that honours `fields`, `limit` and `after`, in pages."""

        def answer(asked: Asked) -> Reply:
            start = int(asked.query.get("after", "0"))
            limit = int(asked.query.get("limit", "0")) or len(items)
            page = items[start : start + limit]
            fields = asked.query.get("fields", "")
            if fields:
                page = [{name: item[name] for name in fields.split(",")} for item in page]
            more = str(start + limit) if start + limit < len(items) else None
            return Reply(200, {"items": page, "next": more, "revision": 7})

        self.on("GET", f"/v1/{collection}", answer)

    def of(self, method: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method]


@contextmanager
def serving(directory: Path) -> Iterator[FakeServer]:
    """A server at DIRECTORY/covey.sock."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            return DATE

        def _handle(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(min(length, fake.reads_at_most))
            self.close_connection = length > fake.reads_at_most
            body = data if "octet-stream" in self.headers.get("Content-Type", "") else json.loads(data) if data else None
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            asked = Asked(self.command, url.path, query, dict(self.headers), body)
            fake.asked.append(asked)
            answers = fake.answers.get((self.command, url.path))
            if not answers:
                self._reply(problem("NotFound", 404, f"nothing is told of {self.command} {url.path}"))
                return
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if not isinstance(answer, Reply | Stream):
                answer = answer(asked)
            if isinstance(answer, Stream):
                self._stream(answer)
            else:
                self._reply(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle

        def _reply(self, reply: Reply) -> None:
            data = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "application/problem+json" if reply.status >= 400 else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: reply.short] if reply.short else data)
            self.close_connection = self.close_connection or reply.cut

        def _stream(self, stream: Stream) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b": hello\n\n")
            for name, data, id in stream.events:
                head = f"id: {id}\n" if id else ""
                self.wfile.write(f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
            if stream.hold:
                fake.ending.wait(30)
            self.close_connection = True

    class Server(ThreadingMixIn, UnixStreamServer):
        block_on_close = True  # no connection outlives its test

    server = Server(str(directory / "covey.sock"), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.ending.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
