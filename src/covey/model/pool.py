"""Pools and the volumes in them."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR_FRACTION = 0.05  # a pool is full at 5 % free ...
FLOOR_BYTES = 2 * 2**30  # ... or at 2 GiB free, whichever comes first


def floor_of(size: int) -> int:
    """Bytes that stay free in a pool of `size` bytes."""
    return max(int(size * FLOOR_FRACTION), FLOOR_BYTES)


@dataclass(frozen=True, slots=True)
class Capability:
    """What a storage template can do. Planners ask this record, never the template's name."""

    template: str
    holds_volumes: bool
    formats: tuple[str, ...] = ()  # the first is the default
    can_grow: bool = False
    cow_formats: tuple[str, ...] = ()  # formats in which a clone of an image is copy-on-write; others are copied
    fence: str = "none"  # device | lock | none (S10)
    snapshot_formats: tuple[str, ...] = ()  # formats whose volumes can be frozen, so that others lie on them


CAPABILITIES = {
    "file": Capability("file", True, ("qcow2", "raw"), can_grow=True, cow_formats=("qcow2",), snapshot_formats=("qcow2",)),
    "diskless": Capability("diskless", False),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where on a machine a pool's volumes are: the template that keeps them and its directory ("" for diskless)."""

    template: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A named place for volumes. A record."""

    id: str
    name: str
    place: Place
    format: str  # of new volumes, unless asked otherwise; "" for diskless
    created_at: float

    def __str__(self) -> str:
        return f"pool {self.name}"

    @property
    def capability(self) -> Capability:
        return CAPABILITIES[self.place.template]


@dataclass(frozen=True, slots=True)
class Volume:
    """One disk's bytes on a machine, named by UUID (P4)."""

    id: str
    place: Place
    format: str
    size: int  # bytes that the guest sees


@dataclass(frozen=True, slots=True)
class Space:
    """Room in a pool, bytes."""

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class FoundVolume:
    """A volume as a machine has it."""

    id: str
    place: Place
    format: str
    size: int
    used: int  # bytes it takes on the machine
    job: str  # the tag of the job that made it (P4); "" when it carries none
    base: str = ""  # the id of the volume that it lies on
