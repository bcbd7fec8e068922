"""What a machine does with images that people send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from covey.host.storage.protocol import Attachment
from covey.model.pool import Place
from covey.model.transfer import Found, FoundUpload


class Uploads(Protocol):
    """Uploads lie beside a pool's volumes, so that they take its room and no other's. Named by UUID."""

    async def receive(self, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]) -> Found:
        """Take in an image, whole, and say what it is. `format` is what it must be taken for ("" for what it looks like), `sha256` what it
        must add up to ("" for any). Whatever goes wrong, also with `pieces`, leaves nothing. Raises BadInput for what is no image, is
        damaged, refers to other files or adds up to something else; NoSpace; Unavailable when the place is gone."""
        ...

    def source(self, place: Place, upload: str, format: str) -> Attachment:
        """Where a received image is. Raises NotFound when it is no longer there."""
        ...

    async def uploads(self, place: Place) -> tuple[FoundUpload, ...]:
        """What lies there whole, by id."""
        ...

    async def ensure_absent(self, place: Place, upload: str) -> None:
        """Nothing of the upload is left."""
        ...

    async def ensure_old_absent(self, place: Place) -> None:
        """Nothing is left of uploads that were cut off by the death of an agent, or that nobody made a disk of within a day."""
        ...
