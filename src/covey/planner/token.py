"""Verbs of tokens."""

from __future__ import annotations

from covey.base.errors import Refused, check
from covey.model.plan import Plan, Uses, delete, put
from covey.model.requests.token import AddToken, RemoveToken
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.planner.registry import plans


@plans(AddToken)
def add(view: ClusterView, request: AddToken) -> Plan:
    view.check_initialised()
    check(
        not view.named("token", request.name),
        Refused("the name is taken", f"token {request.name}", "see: covey token list"),
    )
    check(
        not request.expires_at or request.expires_at > request.now,
        Refused("it would have expired already", f"token {request.name}"),
    )
    token = Token(request.name, request.role, request.digest, request.now, request.expires_at)
    return Plan(
        f"let the bearer of {token} in as {token.role}",
        uses=Uses(exclusive=(f"token/{token.id}",)),
        success=(put(token),),
    )


@plans(RemoveToken)
def remove(view: ClusterView, request: RemoveToken) -> Plan:
    token = view.token(request.token)
    return Plan(f"let the bearer of {token} in no more", uses=Uses(exclusive=(f"token/{token.id}",)), success=(delete(token),))
