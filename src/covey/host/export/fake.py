"""Disks that only pretend, handed out: they hold nothing, and all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from covey.base.errors import NotFound
from covey.base.qcow2 import Layout
from covey.host.export.parts import Map, fingerprint_of, head_of, length_of, part_of
from covey.host.shelf import Shelf
from covey.host.storage.protocol import Attachment
from covey.model.transfer import Content

_PIECE = bytes(2**20)


class FakeExports:
    """On one shelf with a FakeStorage."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    @asynccontextmanager
    async def opened(self, attachment: Attachment, format: str) -> AsyncIterator[Content]:
        found = next((thing for _, thing in self._shelf.items("volume:") if thing["id"] == Path(attachment.path).stem), None)
        if found is None:
            raise NotFound("its file is not there", attachment.path, "see: covey cluster verify")
        size = int(found["size"])
        layout = Layout(size, [])
        yield Content(size, _nothing(size)) if format == "raw" else Content(layout.length, _tables(layout))

    @asynccontextmanager
    async def in_parts(self, attachment: Attachment, above: bool, start: int) -> AsyncIterator[Content]:
        async with self.opened(attachment, "raw") as content:
            map = Map(content.length, (), (), fingerprint_of(content.length, (), ()))
        yield Content(length_of(map, start, 0), _no_parts(map))


async def _no_parts(map: Map) -> AsyncIterator[bytes]:
    yield head_of(map)
    yield part_of(b"")


async def _nothing(size: int) -> AsyncIterator[bytes]:
    for at in range(0, size, len(_PIECE)):
        yield _PIECE[: size - at]


async def _tables(layout: Layout) -> AsyncIterator[bytes]:
    for piece in layout.tables():
        yield piece
