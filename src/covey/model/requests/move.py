"""Requests that give instances to other nodes."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveInstance(Request, kind="instance.move"):
    """Give a stopped instance with its disks to the node `to`; "" is the one with most memory free."""

    instance: str
    to: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.to:
            check_name(self.to, "to")

    @property
    def title(self) -> str:
        return f"instance move {self.instance}" + (f" to {self.to}" if self.to else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearNode(Request, kind="node.clear"):
    """Remove from a node what instances left there that were moved. Covey asks for it itself."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"node clear {self.node}"
