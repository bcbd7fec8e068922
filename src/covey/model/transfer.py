"""What goes between people and disks: images that they send, and disks that they fetch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from covey.model.pool import Place


@dataclass(frozen=True, slots=True)
class Found:
    """What a node says of an image that was sent to it: `size` is what a guest would see of it, `needs` what a qcow2 of it takes, `length`
    what came; all bytes."""

    format: str = ""
    size: int = 0
    needs: int = 0
    length: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class FoundUpload:
    """An image that was sent and of which no disk was made yet: `used` bytes of its pool's room, sent whole `age_s` seconds ago."""

    id: str
    place: Place
    used: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Content:
    """The whole of a disk in one format: `pieces` are `length` bytes together. They raise Unavailable when they break off."""

    length: int
    pieces: AsyncIterator[bytes]
