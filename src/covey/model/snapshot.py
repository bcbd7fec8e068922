"""Snapshots of instances, and the layers that keep what they hold."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.pool import Volume


@dataclass(frozen=True, slots=True)
class Layer:
    """A frozen volume: what a disk held at one moment, never written again. Disks and other layers lie on it, and cannot be read
    without it. A record, which lives for as long as a snapshot, a disk or a layer needs it."""

    id: str  # its volume's
    node: str  # id
    pool: str  # id
    volume: Volume
    instance: str  # id of the instance whose disk it was
    frozen_at: float
    base: str = ""  # id of the layer that it lies on itself
    image: str = ""  # id of the image at the bottom

    def __str__(self) -> str:
        return f"layer {self.id}"


@dataclass(frozen=True, slots=True)
class SnapshotDisk:
    """What a snapshot has of one disk. `serial` is as in Disk, and never ""."""

    index: int
    layer: str  # id
    serial: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All disks of an instance at one moment. A record. `quiesced`: its guest's file systems were at rest."""

    id: str
    instance: str  # id
    name: str  # unique within the instance
    created_at: float
    disks: tuple[SnapshotDisk, ...]
    quiesced: bool = False
    notes: str = ""

    def __str__(self) -> str:
        return f"snapshot {self.name}"
