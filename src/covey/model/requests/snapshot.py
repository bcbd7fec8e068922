"""Requests on snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name, check_text
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AddSnapshot(Request, kind="snapshot.add"):
    """All disks of an instance at one moment. `name` "" is made from the time."""

    instance: str
    name: str = ""
    notes: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.name:
            check_name(self.name, "name")
        check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"snapshot add {self.instance} {self.name}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnSnapshot(Request):
    instance: str
    snapshot: str

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_name(self.snapshot, "snapshot")

    @property
    def title(self) -> str:
        return f"{self.kind.replace('.', ' ')} {self.instance} {self.snapshot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertSnapshot(_OnSnapshot, kind="snapshot.revert"):
    """The disks become again what they were; the snapshot stays. `stop` cuts a running guest first."""

    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSnapshot(_OnSnapshot, kind="snapshot.remove"):
    """Give the snapshot up; the disks stay as they are."""
