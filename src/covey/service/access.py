"""Who asks, and what they may do."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import covey.model.requests  # noqa: F401  (its modules register the kinds)
from covey.base.errors import Denied, check
from covey.model import codec
from covey.model.request import Request
from covey.model.token import INVITED, Token

READS = frozenset(
    {
        "cluster.read",
        "node.read",
        "image.read",
        "pool.read",
        "network.read",
        "firewall.read",
        "forward.read",
        "instance.read",
        "guest.read",
        "snapshot.read",
        "job.read",
        "event.read",
        "api.read",
        "metrics.read",
    }
)
GUARDED = frozenset(
    {
        "token.read",
        "console.read",
        "console.attach",
        "guest.run",
        "guest.password",
        "guest.keys",
        "disk.export",
        "cluster.verify",
        "cluster.fix",
        "cluster.backup",
        "cluster.compact",
        "job.cancel",
    }
)
CHANGES = frozenset(codec.members(Request))  # a change takes the permission of its request's kind
PERMISSIONS = READS | GUARDED | CHANGES
ALLOWED = {"admin": PERMISSIONS, "viewer": READS, INVITED: frozenset({"node.join"})}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a local user or the name of a token, and the role."""

    name: str
    role: str  # admin | viewer | invited


def allowed(role: str, permission: str) -> bool:
    """Whether a role has a permission; unknown roles have none, and nobody has an unknown permission."""
    return permission in ALLOWED.get(role, ())


def check_allowed(principal: Principal, permission: str) -> None:
    """Raises Denied."""
    if not allowed(principal.role, permission):
        raise Denied(
            f"{principal.name} is {principal.role} and may not do this", permission, "ask an admin for a token of role admin"
        )


def digest_of(secret: str) -> str:
    """What is kept of a token's secret. It is drawn from 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def principal_of(secret: str, tokens: Iterable[Token], now: float) -> Principal:
    """Whose secret this is. Takes as long for a wrong one as for a right one. Raises Denied."""
    digest = digest_of(secret)
    found: Token | None = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    if found is None:
        raise Denied("the token is not known", "token", "it may have been removed: ask an admin for a new one")
    check(
        not found.expires_at or now < found.expires_at,
        Denied("the token has expired", found, "ask an admin for a new one"),
    )
    return Principal(found.name, found.role)
