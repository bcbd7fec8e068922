"""Requests that empty nodes."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnNode(Request):
    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"{self.kind.replace('.', ' ')} {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainNode(_OnNode, kind="node.drain"):
    """A node hosts nothing new, and what runs there goes to others; what is stopped stays. `by` and `reason` are the service's to fill in."""

    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvacuateNode(DrainNode, kind="node.evacuate"):
    """As DrainNode, and what is stopped goes, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndrainNode(_OnNode, kind="node.undrain"):
    """A node hosts again. What went to others stays there."""
