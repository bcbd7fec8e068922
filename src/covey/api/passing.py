"""Passing on to the controller that leads what only that one can do: whole requests with their bodies, answers as they come, consoles.

The follower has found out who asks; the leader believes it because of the certificate of who passes it on (api/door.py). A request is passed
on once: what comes by the door for controllers is answered there, or refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx2
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from covey.api.door import PRINCIPAL, REQUEST_ID, REVISION
from covey.base.errors import CoveyError, Unavailable
from covey.base.log import belongs_to
from covey.service.access import Principal
from covey.service.inside import Inside

Headers = list[tuple[bytes, bytes]]
HOP = frozenset(  # of one connection, not of the request (RFC 9110, section 7.6.1); who asks is said anew
    name.encode()
    for name in (
        *(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        *("host", "expect", "authorization", PRINCIPAL, REQUEST_ID.decode(), REVISION),
    )
)
OF_THE_SERVER = frozenset((b"date", b"server"))
SOCKET = b"sec-websocket-"
GOING_AWAY = 1001
log = structlog.get_logger()


async def pass_on(inside: Inside, request: Request, principal: Principal) -> Response:
    """The leader's answer. Raises Unavailable when there is none."""
    standing = inside.standing
    await standing.settled()
    way = None if request.scope.get("covey.passed") else standing.way()
    if way is None:
        raise standing.nobody()
    sent = way.client.build_request(
        request.method,
        _target(request.scope),
        headers=[*_kept(request.scope["headers"]), *_about(principal)],
        content=_body(request) if _has_body(request.scope["headers"]) else None,
    )
    try:
        answer = await way.client.send(sent, stream=True)
    except (httpx2.HTTPError, OSError) as error:
        raise standing.nobody(_why(error)) from error
    await _catch_up(inside, answer.headers.get(REVISION, ""))
    return _Passed(answer)


async def pass_on_console(inside: Inside, socket: WebSocket, principal: Principal) -> None:
    """Both ways, until either side ends. Raises Unavailable when nobody leads."""
    standing = inside.standing
    await standing.settled()
    way = None if socket.scope.get("covey.passed") else standing.way()
    if way is None:
        raise standing.nobody()
    headers = {name.decode(): value.decode("latin-1") for name, value in [*_kept(socket.scope["headers"]), *_about(principal)]}
    try:
        async with way.console(_target(socket.scope), headers) as console:
            await socket.accept()
            await _relay(inside, socket, console)
    except InvalidStatus as refused:
        denied = refused.response
        kept = {name: value for name, value in denied.headers.raw_items() if name.lower() == "content-type"}
        await socket.send_denial_response(Response(bytes(denied.body or b""), denied.status_code, kept))
    except (OSError, WebSocketException) as error:
        raise standing.nobody(_why(error)) from error


async def _relay(inside: Inside, socket: WebSocket, console: ClientConnection) -> None:
    parts: list[asyncio.Task[Any]] = [
        asyncio.create_task(_down(socket, console)),
        asyncio.create_task(_up(socket, console)),
        asyncio.create_task(inside.closing.wait()),
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    if parts[1] in done:
        return  # the person went away
    closed = console.protocol.close_rcvd if parts[0] in done else None
    await socket.close(closed.code if closed else GOING_AWAY, closed.reason if closed else None)


async def _down(socket: WebSocket, console: ClientConnection) -> None:
    try:
        while True:
            await socket.send_bytes(await console.recv(decode=False))
    except ConnectionClosed:
        return


async def _up(socket: WebSocket, console: ClientConnection) -> None:
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes") or (message.get("text") or "").encode()
            if data:
                await console.send(data)
    except (WebSocketDisconnect, ConnectionClosed):
        return


class _Passed(StreamingResponse):
    """An answer of the leader's, piece by piece. One that breaks off is cut short here, too."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(_pieces(answer), answer.status_code)
        self.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP | OF_THE_SERVER
        ]
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            log.info("nobody reads the answer any more")
        except Unavailable as error:
            log.warning("an answer of the leader's broke off", error=str(error))
        finally:
            await self._answer.aclose()


async def _pieces(answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(_why(error), "cluster") from error


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


async def _catch_up(inside: Inside, revision: str) -> None:
    """Who has changed something reads it here, too, whatever is asked next."""
    if revision.isdigit():
        try:
            await inside.view_at(int(revision))
        except CoveyError as error:
            log.warning("the view lags behind the leader's", error=str(error))


def _target(scope: Any) -> str:
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name, value) for name, value in headers if name not in HOP and not name.startswith(SOCKET)]


def _about(principal: Principal) -> Headers:
    said = json.dumps([principal.name, principal.role]).encode()
    return [(PRINCIPAL.encode(), said), (REQUEST_ID, belongs_to().encode())]


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in headers)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
