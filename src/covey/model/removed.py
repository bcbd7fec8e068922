"""What was removed and may still come back."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.instance import Disk, Instance
from covey.model.network import Forward


@dataclass(frozen=True, slots=True)
class Removed:
    """An instance, or a single disk of one, that was removed. A record; its id is that of the instance, or of the disk's volume.

    Its volumes stay on their node until `keep_until` and belong to it; its name, MACs and addresses are free. `instance` is the record
    as it was; when a disk was removed, it has that disk alone."""

    id: str
    what: str  # instance | disk
    instance: Instance
    removed_at: float
    keep_until: float
    by: str = ""
    reason: str = ""
    used: int = 0  # bytes that its volumes take
    forwards: tuple[Forward, ...] = ()  # those that led to it

    def __str__(self) -> str:
        return f"removed {self.title}"

    @property
    def title(self) -> str:
        """ "instance web1", "disk web1/1"."""
        return f"instance {self.instance.name}" if self.what == "instance" else f"disk {self.instance.name}/{self.disk.index}"

    @property
    def disk(self) -> Disk:
        """The disk, when it is one."""
        return self.instance.disks[0]

    @property
    def purge(self) -> str:
        """The command that removes it for good."""
        if self.what == "instance":
            return f"covey instance remove {self.instance.name} --purge"
        return f"covey disk remove {self.instance.name} {self.disk.index} --purge"
