"""The request for an instance like another."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneInstance(Request, kind="instance.clone"):
    """A new instance `name` with the disks of another, as they are now or as a snapshot has them. They lie on what both had in common,
    or are `full` copies. It becomes a machine of its own, unless it is to stay `identical` inside; then its NICs are unplugged."""

    instance: str
    name: str
    snapshot: str = ""
    full: bool = False
    identical: bool = False
    start: bool = False

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_name(self.name, "name")
        if self.snapshot:
            check_name(self.snapshot, "snapshot")

    @property
    def title(self) -> str:
        return f"instance clone {self.instance} {self.name}"
