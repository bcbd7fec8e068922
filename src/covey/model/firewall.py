"""Firewalls: rules that NICs and instances have in common."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.filter import Rule


@dataclass(frozen=True, slots=True)
class Firewall:
    """What is allowed to and from the NICs that have it. A record. Of its rules, a peer that is a firewall is named by id."""

    id: str
    name: str
    rules: tuple[Rule, ...]
    created_at: float
    notes: str = ""

    def __str__(self) -> str:
        return f"firewall {self.name}"
