"""Uploads that only pretend: they are looked at as they come, and what is kept is what they are."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict

from covey.base.errors import BadInput, NotFound, Unavailable, check
from covey.host.shelf import Shelf
from covey.host.storage.fake import pool_key, upload_key
from covey.host.storage.protocol import Attachment
from covey.host.upload.stranger import FORMATS, HEAD, check_stranger, guess_size
from covey.model.names import check_sha256, check_uuid
from covey.model.pool import Place
from covey.model.transfer import Found, FoundUpload

LONG_AGO_S = 3600.0


class FakeUploads:
    """On one shelf with a FakeStorage, its volumes can be made of these."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def receive(self, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]) -> Found:
        label = "the image that was sent"
        wanted = check_sha256(sha256, label)
        check(
            self._shelf.get(pool_key(place)), Unavailable("the pool's directory is gone or not mounted", place.path, "mount it")
        )
        digest, head, length = hashlib.sha256(), b"", 0
        async for piece in pieces:
            digest.update(piece)
            head = (head + piece)[:HEAD]
            length += len(piece)
        found = digest.hexdigest()
        check(not wanted or found == wanted, BadInput(f"its SHA-256 is {found}, not {wanted}", label, "nothing was kept"))
        kind = check_stranger(head, length, format, label)
        facts = Found(kind, guess_size(head, kind, length), length, length, found)
        self._shelf.put(upload_key(self._path(place, upload, kind)), asdict(facts))
        return facts

    def source(self, place: Place, upload: str, format: str) -> Attachment:
        path = self._path(place, upload, format)
        check(
            self._shelf.get(upload_key(path)),
            NotFound("the image that was sent is gone", f"upload {upload}", "send it again: covey disk import"),
        )
        return Attachment("file", path, format)

    async def uploads(self, place: Place) -> tuple[FoundUpload, ...]:
        kept = self._shelf.items(upload_key(f"{place.path}/uploads/"))
        return tuple(
            FoundUpload(key.rpartition("/")[2].partition(".")[0], place, facts["length"], LONG_AGO_S) for key, facts in kept
        )

    async def ensure_absent(self, place: Place, upload: str) -> None:
        for format in FORMATS:
            self._shelf.delete(upload_key(self._path(place, upload, format)))

    async def ensure_old_absent(self, place: Place) -> None:
        """Nothing is ever cut off here, or grows old."""

    def _path(self, place: Place, upload: str, format: str) -> str:
        return f"{place.path}/uploads/{check_uuid(upload, 'upload')}.{format}"
