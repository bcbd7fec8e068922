"""Requests on nodes."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name, check_text
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNode(Request, kind="node.ping"):
    """See that a node's agent carries out steps: a job that changes nothing."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"node ping {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyNode(Request, kind="node.modify"):
    node: str
    notes: str | None = None

    def check(self) -> None:
        check_name(self.node, "node")
        if self.notes is not None:
            check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"node modify {self.node}"
