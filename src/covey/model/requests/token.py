"""Requests on tokens."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_name, check_sha256
from covey.model.request import Request

ROLES = ("admin", "viewer")
RESERVED = ("root", "covey", "guest")  # a token's bearer must not pass for them in jobs and events


@dataclass(frozen=True, slots=True, kw_only=True)
class AddToken(Request, kind="token.add"):
    """The service draws the secret, shows it once and keeps `digest`."""

    name: str
    role: str = "viewer"
    expires_at: float = 0.0
    digest: str = ""

    def check(self) -> None:
        check_name(self.name, "name")
        check(self.name not in RESERVED, BadInput(f"{self.name!r} is a name of Covey's own", "name", "choose another"))
        check(self.role in ROLES, BadInput(f"{self.role[:40]!r} is no role", "role", "use admin or viewer"))
        check(self.expires_at >= 0, BadInput("lies before all time", "expires_at"))
        check_sha256(self.digest, "digest")

    @property
    def title(self) -> str:
        return f"token add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveToken(Request, kind="token.remove"):
    token: str

    def check(self) -> None:
        check_name(self.token, "token")

    @property
    def title(self) -> str:
        return f"token remove {self.token}"
