"""The outermost layer: who asks? Nothing within is reached before that is known, not even a 404."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from starlette.websockets import WebSocket

from covey.api.problems import Unauthenticated, problem_response
from covey.base.errors import CoveyError, Denied, Unavailable
from covey.model.token import Token
from covey.service.access import Principal, principal_of
from covey.service.inside import Inside

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
MOST_AT_ONCE = 1_000  # requests; streams and long polls count too
PEER = "covey.peer"  # in scope["state"]: the uid of a local caller, as the kernel tells it


class Door:
    """ASGI middleware. Leaves the Principal in scope["covey.principal"]."""

    def __init__(self, app: App, inside: Inside) -> None:
        self._app = app
        self._inside = inside
        self._present = {"local": 0, "network": 0}  # counted apart: whoever comes over the network cannot keep root out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        side = "local" if PEER in scope.get("state", {}) else "network"
        self._present[side] += 1
        try:
            if self._present[side] > MOST_AT_ONCE:
                raise Unavailable(f"{MOST_AT_ONCE} requests are being answered already", "covey", "try again in a moment")
            scope["covey.principal"] = self._identify(scope)
            await self._app(scope, receive, send)
        except (Unavailable, Denied) as error:
            await _refuse(scope, receive, send, error)
        finally:
            self._present[side] -= 1

    def _identify(self, scope: Scope) -> Principal:
        """Raises Unauthenticated."""
        uid = scope.get("state", {}).get(PEER)
        if uid is not None:
            return local_principal(uid)
        secret = _bearer(scope)
        try:
            return principal_of(secret, self._inside.view.all("token", Token), self._inside.clock.now())
        except Denied as error:
            raise Unauthenticated(error.what, error.object, error.hint) from error


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


async def _refuse(scope: Scope, receive: Receive, send: Send, error: CoveyError) -> None:
    response = problem_response(error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
