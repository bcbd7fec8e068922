"""Golden images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is built."""

    suite: str
    packages: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()  # texts of scripts, run in order in the new root as `$1`
    size: int = 2 * 2**30  # bytes of the disk
    mirror: str = ""  # "" for the machine's own package sources


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a machine says of an image's file: returned by the step that made it (P6)."""

    format: str  # raw | qcow2
    size: int  # bytes that a guest sees
    file_size: int  # bytes on disk
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """A golden image. A record; `state` is adding, ready or broken."""

    id: str
    name: str
    source: str  # path or URL it came from, or "built: bookworm"
    state: str
    created_at: float
    format: str = ""
    size: int = 0
    file_size: int = 0
    sha256: str = ""
    recipe: Recipe | None = None
    notes: str = ""
    node: str = ""  # id of the node where it was made, and from where others get it; "" before there were several

    def __str__(self) -> str:
        return f"image {self.name}"
