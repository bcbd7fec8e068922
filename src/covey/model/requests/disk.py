"""Requests on disks."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.base.units import humane_size
from covey.model.names import check_name
from covey.model.request import Request
from covey.model.transfer import Found

SMALLEST_DISK = 2**20
LARGEST_DISK = 2**46  # 64 TiB: beyond what the file systems of these machines hold
MOST_DISKS = 24
NOTHING = Found()


def check_disk_size(size: int, object: str) -> None:
    check(
        SMALLEST_DISK <= size <= LARGEST_DISK,
        BadInput(
            f"a disk of {humane_size(size)} cannot be", object, "disks are between 1M and 64T; a number without a unit is bytes"
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDisk(Request, kind="disk.add"):
    instance: str
    size: int
    pool: str = ""
    format: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_disk_size(self.size, "size")
        if self.pool:
            check_name(self.pool, "pool")
        check(self.format in ("", "qcow2", "raw"), BadInput(f"{self.format[:40]!r} is no disk format", "format"))

    @property
    def title(self) -> str:
        return f"disk add {self.instance} {humane_size(self.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportDisk(Request, kind="disk.import"):
    """Make a disk of an image that was sent. `upload` and `found`, what its node says of it, are filled in by the service: `upload` is ""
    while it is still to come."""

    instance: str
    pool: str = ""
    format: str = ""
    upload: str = ""
    found: Found = NOTHING

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.pool:
            check_name(self.pool, "pool")
        check(self.format in ("", "qcow2", "raw"), BadInput(f"{self.format[:40]!r} is no disk format", "format"))

    @property
    def title(self) -> str:
        return f"disk import {self.instance} {humane_size(self.found.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowDisk(Request, kind="disk.grow"):
    """Absolute size, so that repeating it changes nothing."""

    instance: str
    disk: int
    size: int

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(0 <= self.disk < MOST_DISKS, BadInput(f"there is no disk {self.disk}", "disk"))
        check_disk_size(self.size, "size")

    @property
    def title(self) -> str:
        return f"disk grow {self.instance} {self.disk} to {humane_size(self.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDisk(Request, kind="disk.remove"):
    """Take a disk out; its volume is kept for a while, unless `purge`. With that, one that was removed before is gone for good. `by` and
    `reason` are the job's, filled in by the service."""

    instance: str
    disk: int
    purge: bool = False
    by: str = ""
    reason: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(0 <= self.disk < MOST_DISKS, BadInput(f"there is no disk {self.disk}", "disk"))

    @property
    def title(self) -> str:
        return f"disk remove {self.instance} {self.disk}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreDisk(Request, kind="disk.restore"):
    """Bring back a disk that was removed from `instance` as number `disk`: to that instance, or to the instance `to`."""

    instance: str
    disk: int
    to: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(0 <= self.disk < MOST_DISKS, BadInput(f"there is no disk {self.disk}", "disk"))
        if self.to:
            check_name(self.to, "to")

    @property
    def title(self) -> str:
        return f"disk restore {self.instance} {self.disk}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenDisk(Request, kind="disk.flatten"):
    """Make a disk independent of its image and of the layers below it: what it reads from them is copied into it."""

    instance: str
    disk: int

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(0 <= self.disk < MOST_DISKS, BadInput(f"there is no disk {self.disk}", "disk"))

    @property
    def title(self) -> str:
        return f"disk flatten {self.instance} {self.disk}"
