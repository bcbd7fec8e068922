"""Volumes that lie on volumes: qcow2 files, each with the name of the one below in its header.

Whoever reads a layer reads through to the bottom, so what lies below must never change what it shows. Merging keeps to that: the upper
file goes on showing the same, whatever is written into the lower one that it covers, until it is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import Refused, check
from covey.host.formats import alone, bounds, find_backing
from covey.host.storage.protocol import Attachment
from covey.host.storage.tool import image_tool, tool
from covey.model.pool import Volume

SLOWEST_MERGE = 4 * 2**20  # bytes a second: one that is slower has hung
POLITE = ("nice", "-n", "10", "ionice", "-c", "3")  # guests go first


async def create_above(volume: Volume, new: Path, size: int, below: Path, format: str) -> None:
    """An empty qcow2 on another, which is not opened: a guest may be writing to it until this very one takes over."""
    await image_tool(volume, ("create", "-q", "-u", "-f", "qcow2", "-b", str(below), "-F", format, str(new), str(size)))


@dataclass(frozen=True, slots=True)
class Opened:
    """How a copy's source is opened: what goes before the tool, and what names the file to it."""

    before: tuple[str, ...]
    words: tuple[str, ...]


def trusted(source: Attachment) -> Opened:
    """A file of Covey's own, with all that it lies on."""
    return Opened((), ("-f", source.format, source.path))


def stranger(volume: Volume, source: Attachment) -> Opened:
    """A file that somebody sent, to become `volume`: nothing of it is followed."""
    most = volume.size + volume.size // 512 + 2**26  # with a qcow2's tables
    return Opened(bounds(most), (alone(source.path, source.format),))


async def copy_whole(volume: Volume, new: Path, source: Opened, told: Callable[[int, int], None]) -> None:
    """All that a source shows, as one file on its own. Holes stay holes."""
    options = ("-p", "-t", "none", "-T", "none", "-O", volume.format)
    argv = (*source.before, *POLITE, "qemu-img", "convert", *options, *source.words, str(new))
    await tool(volume, argv, 60 + volume.size / SLOWEST_MERGE, lambda part: told(int(volume.size * part), volume.size))


async def merge_down(top: Volume, above: Path, below: Path, told: Callable[[int, int], None]) -> None:
    """Write what `above` holds into the file that it lies on, which grows to its size. Raises Refused when it lies on another."""
    lies_on = find_backing(above)
    check(
        lies_on == str(below),
        Refused(f"it lies on {lies_on or 'nothing'}, not on {below}", f"volume {top.id}", "see: covey cluster verify"),
    )
    argv = (*POLITE, "qemu-img", "commit", "-p", "-d", "-f", "qcow2", str(above))
    held = above.stat().st_blocks * 512
    await tool(top, argv, 60 + held / SLOWEST_MERGE, lambda part: told(int(held * part), held))


async def put_on(volume: Volume, path: Path, below: Path, format: str) -> None:
    """Write into the header that it lies on `below`; nothing else is looked at."""
    await image_tool(volume, ("rebase", "-q", "-u", "-f", "qcow2", "-b", str(below), "-F", format, str(path)))


async def take_in(volume: Volume, path: Path, told: Callable[[int, int], None]) -> None:
    """Write into the file what it shows of those below, then let go of them. Each write is durable before the next: after a power cut
    it either still lies on them or has all of it."""
    argv = (*POLITE, "qemu-img", "rebase", "-p", "-t", "writethrough", "-f", "qcow2", "-b", "", str(path))
    await tool(volume, argv, 60 + volume.size / SLOWEST_MERGE, lambda part: told(int(volume.size * part), volume.size))
