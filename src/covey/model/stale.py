"""What a move leaves behind (S17)."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.instance import Instance


@dataclass(frozen=True, slots=True)
class Stale:
    """What an instance left on a node that it was moved from: domain, seed and volumes as they were then. A record, written in the
    transaction that gives the instance to its new node; nothing starts from it, and it goes as soon as that node can clear it.

    `instance` is the record as it was: its node and generation say where, and how old it is."""

    id: str  # INSTANCE.NODE, by ids
    instance: Instance
    since: float

    def __str__(self) -> str:
        return f"what {self.instance.name} left behind"


def stale_id(instance: str, node: str) -> str:
    return f"{instance}.{node}"
