"""Who may run an instance (S3, S4)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """The nodes that may run an instance, each with the start by which it may. A record, there for as long as it is more than one:
    otherwise it is the instance's own node, by the instance's generation."""

    id: str  # the instance's
    holders: dict[str, int] = field(default_factory=dict)  # generation by node id
