"""What a machine does to hand a disk's content out."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from covey.host.export.parts import Parts
from covey.host.storage.protocol import Attachment
from covey.model.pool import Volume
from covey.model.transfer import Content


class Exports(Protocol):
    def opened(self, attachment: Attachment, format: str) -> AbstractAsyncContextManager[Content]:
        """What a volume shows, with all that it lies on; nobody can write to it within. Nothing is copied on the machine. Raises NotFound
        when its file is gone, Refused when somebody writes to it, Unavailable when it cannot be read."""
        ...

    def in_parts(self, attachment: Attachment, above: bool, start: int) -> AbstractAsyncContextManager[Content]:
        """The same for another node, as host/export/parts.py has it, from byte `start` of the data on: all that the volume shows, or only
        what it holds `above` the file that it lies on."""
        ...


class Fetches(Protocol):
    """What a machine does to get volumes from other nodes."""

    def opened(self, volume: Volume, above: bool, start: int, origin: str, address: str) -> AbstractAsyncContextManager[Parts]:
        """What a volume holds on the node with the id `origin`, whose agent listens at `address`, as `in_parts` gives it. Raises
        Unavailable, Refused when that node was not told to let us, NotFound."""
        ...
