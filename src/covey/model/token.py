"""Tokens: who may come in over the network, and as what."""

from __future__ import annotations

from dataclasses import dataclass

INVITED = "invited"  # the role of an invitation: to join as a node, once


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. A record, under its name; only the SHA-256 of the secret is kept."""

    id: str  # its name
    role: str  # admin | viewer | invited
    digest: str
    created_at: float
    expires_at: float = 0.0  # 0: never

    @property
    def name(self) -> str:
        return self.id

    def __str__(self) -> str:
        return f"token {self.id}"
