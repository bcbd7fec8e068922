"""What a machine does to hand a disk's content out."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from covey.host.storage.protocol import Attachment
from covey.model.transfer import Content


class Exports(Protocol):
    def opened(self, attachment: Attachment, format: str) -> AbstractAsyncContextManager[Content]:
        """What a volume shows, with all that it lies on; nobody can write to it within. Nothing is copied on the machine. Raises NotFound
        when its file is gone, Refused when somebody writes to it, Unavailable when it cannot be read."""
        ...
