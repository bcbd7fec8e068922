"""The outermost layer: who asks? Nothing within is reached before that is known, not even a 404."""

from __future__ import annotations

import json
import logging
import os
import pwd
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import structlog
from starlette.websockets import WebSocket

from covey.api.problems import Unauthenticated, problem_response
from covey.base.errors import CoveyError, Denied, Unavailable, check
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.service.access import Principal, principal_of
from covey.service.inside import Inside

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
MOST_AT_ONCE = 1_000  # requests; streams and long polls count too
MOST_OF_ONE = 250  # of one token: its holder cannot keep the others out
log = structlog.get_logger()
MOST_READ_IN_VAIN = 2**28  # bytes of what another controller passes on, though it is refused
REQUEST_ID = b"x-request-id"
_SOUND_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
PRINCIPAL = "x-covey-principal"  # who asks, as the controller that passes a request on has found out
REVISION = "x-covey-revision"  # which the leader's view has reached, for the controller that passed a request on
CONTROLLER = "covey.controller"  # in scope["state"]: the node whose controller is at the other end of the door for controllers
HERE = "here"  # as that node: somebody on this machine
PEER = "covey.peer"  # in scope["state"]: the uid of a local caller, as the kernel tells it


class Door:
    """ASGI middleware. Leaves the Principal in scope["covey.principal"], and gives the request the id by which the log knows it."""

    def __init__(self, app: App, inside: Inside) -> None:
        self._app = app
        self._inside = inside
        self._present = {"local": 0, "network": 0, "controllers": 0}  # counted apart: no crowd at one door keeps the others out
        self._by_token: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = _request_id(scope) or self._inside.draw(8)
        structlog.contextvars.bind_contextvars(request=request)  # in the context of this request's own task
        send = _with_id(send, request, f"{scope.get('method', scope['type'])} {scope['path']}")
        state = scope.get("state", {})
        side = "controllers" if CONTROLLER in state else "local" if PEER in state else "network"
        if side == "controllers":
            scope["covey.passed"] = True
            send = _with_revision(send, self._inside)
            if scope["type"] == "http":
                receive, send = _read_to_the_end(receive, send)
        self._present[side] += 1
        try:
            if self._present[side] > MOST_AT_ONCE:
                raise Unavailable(f"{MOST_AT_ONCE} requests are being answered already", "covey", "try again in a moment")
            principal = scope["covey.principal"] = self._identify(scope)
            with self._share(principal.name) if side == "network" else nullcontext():
                await self._app(scope, receive, send)
        except (Unavailable, Denied) as error:
            await _refuse(scope, receive, send, error)
        finally:
            self._present[side] -= 1

    @contextmanager
    def _share(self, token: str) -> Iterator[None]:
        """Raises Unavailable when the token has as many requests under way as one may."""
        taken = self._by_token.get(token, 0)
        check(
            taken < MOST_OF_ONE,
            Unavailable(f"{MOST_OF_ONE} of its requests are being answered already", f"token {token}", "end some of them"),
        )
        self._by_token[token] = taken + 1
        try:
            yield
        finally:
            self._by_token[token] -= 1
            if not self._by_token[token]:
                del self._by_token[token]

    def _identify(self, scope: Scope) -> Principal:
        """Raises Unauthenticated."""
        if scope.get("covey.passed"):
            return passed_principal(scope, self._inside.view)
        uid = scope.get("state", {}).get(PEER)
        if uid is not None:
            return local_principal(uid)
        secret = _bearer(scope)
        try:
            return principal_of(secret, self._inside.view.all("token", Token), self._inside.clock.now())
        except Denied as error:
            raise Unauthenticated(error.what, error.object, error.hint) from error


def passed_principal(scope: Scope, view: ClusterView) -> Principal:
    """Whom another controller passes a request on for; it asks for itself when it names nobody. Raises Unauthenticated for anybody else
    than a controller of this cluster."""
    node = scope["state"][CONTROLLER]
    known = node == HERE or view.find("node", node) is not None  # a certificate outlives its node
    check(known, Unauthenticated("this door is for controllers of the cluster", "request", "ask at the door of the API"))
    for name, value in scope["headers"]:
        if name == PRINCIPAL.encode():
            try:
                found, role = json.loads(value)
            except ValueError as error:
                raise Unauthenticated("it does not say who asks", f"controller of node {node}") from error
            return Principal(str(found), str(role))
    return Principal(f"controller of node {node}", "viewer")


def local_principal(uid: int) -> Principal:
    """Root, and the user that the daemon runs as, may do everything. Raises Unauthenticated for others."""
    if uid not in (0, os.geteuid()):
        raise Unauthenticated(f"user {_user_name(uid)} is not known here", "local socket", "ask as root")
    return Principal(_user_name(uid), "admin")


@lru_cache(maxsize=100)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _bearer(scope: Scope) -> str:
    """The secret that was sent. Raises Unauthenticated."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and secret.strip():
                return str(secret.strip())
            raise Unauthenticated(
                "the Authorization header holds no bearer token", "request", "send: Authorization: Bearer SECRET"
            )
    raise Unauthenticated("a token is needed", "request", "send: Authorization: Bearer SECRET (covey token add)")


def _request_id(scope: Scope) -> str:
    """The id that the client gave its request, "" when it gave none, or none that may go into a log."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _SOUND_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return ""


def _with_revision(send: Send, inside: Inside) -> Send:
    """Tell the controller that passed a request on how far its view must be before its client asks again."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] in _HEADS:
            told = (REVISION.encode(), str(inside.view.revision).encode())
            message = {**message, "headers": [*message.get("headers", ()), told]}
        await send(message)

    return sending


def _read_to_the_end(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """What is refused before all of it was read: the rest is read before the answer ends. A connection that is closed in the midst of what
    is sent loses the answer, and who passes a request on reads no answer before."""
    has_ended, left = False, MOST_READ_IN_VAIN

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal has_ended
        message = await receive()
        has_ended = has_ended or not message.get("more_body", False)
        return message

    async def sending(message: MutableMapping[str, Any]) -> None:
        nonlocal left
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            while not has_ended and left > 0:
                left -= len((await receiving()).get("body", b""))
        await send(message)

    return receiving, sending


def _with_id(send: Send, request: str, what: str) -> Send:
    """Tell the client by which id the log knows its request, and the log how it was answered."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] in _HEADS:
            message = {**message, "headers": [*message.get("headers", ()), (REQUEST_ID, request.encode())]}
            if logging.getLogger().isEnabledFor(logging.DEBUG):  # asked first: every request comes this way
                log.debug("answered", what=what[:200], status=message.get("status", 101))
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, error: CoveyError) -> None:
    response = problem_response(error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
