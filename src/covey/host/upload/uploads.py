"""Uploads as files of this machine.

PLACE/uploads/ID.FORMAT      an image that somebody sent: whole, and found to be of that format
PLACE/uploads/.ID.part       one that is coming in; without a process that takes it in, it is debris
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from covey.base.errors import BadInput, NoSpace, NotFound, StepFailed, Unavailable, check
from covey.base.files import sync_directory
from covey.base.run import run
from covey.base.units import humane_size
from covey.host.faults import told_apart
from covey.host.formats import alone, bounds
from covey.host.image.fetch import PIECE, write_sparsely
from covey.host.storage.protocol import Attachment
from covey.host.threads import in_thread
from covey.host.upload.stranger import FORMATS, HEAD, check_alone, check_stranger
from covey.model.names import check_path, check_sha256, check_uuid
from covey.model.pool import Place, floor_of
from covey.model.transfer import Found, FoundUpload

KEPT_S = 24 * 3600.0
LOOK_WITHIN_S = 120.0
_NAME = re.compile(
    r"(?P<hidden>\.?)(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<part>part|" + "|".join(FORMATS) + ")"
)


class HostUploads:
    """What is coming in by this process, nobody takes for debris."""

    def __init__(self) -> None:
        self._coming: set[str] = set()

    async def receive(self, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]) -> Found:
        label = "the image that was sent"
        wanted = check_sha256(sha256, label)
        part = _directory(place) / f".{check_uuid(upload, 'upload')}.part"
        self._coming.add(upload)
        try:
            await in_thread(_make_directory, place)
            head, length, digest = await _write(part, pieces, place)
            check(
                not wanted or digest == wanted,
                BadInput(f"its SHA-256 is {digest}, not {wanted}", label, "nothing was kept: send it again"),
            )
            kind = check_stranger(head, length, format, label)
            size, needs = await _measure(part, kind, label)
            with told_apart(part.parent, "an upload"):
                await in_thread(_publish, part, part.with_name(f"{upload}.{kind}"))
            return Found(kind, size, needs, length, digest)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            self._coming.discard(upload)
            self._tidy(place)

    def source(self, place: Place, upload: str, format: str) -> Attachment:
        path = _directory(place) / f"{check_uuid(upload, 'upload')}.{format}"
        check(
            format in FORMATS and path.exists(),
            NotFound("the image that was sent is gone", f"upload {upload}", "send it again: covey disk import"),
        )
        return Attachment("file", str(path), format)

    async def uploads(self, place: Place) -> tuple[FoundUpload, ...]:
        return await in_thread(_find, place, frozenset(self._coming))

    async def ensure_absent(self, place: Place, upload: str) -> None:
        for suffix in FORMATS:
            (_directory(place) / f"{check_uuid(upload, 'upload')}.{suffix}").unlink(missing_ok=True)
        self._tidy(place)

    async def ensure_old_absent(self, place: Place) -> None:
        await in_thread(_remove_old, _directory(place), frozenset(self._coming))
        self._tidy(place)

    def _tidy(self, place: Place) -> None:
        """An empty directory is not left: the pool's may be removed, and made a pool again."""
        if not self._coming:
            with contextlib.suppress(OSError):  # it is not empty, or not there
                _directory(place).rmdir()


def _directory(place: Place) -> Path:
    return Path(check_path(place.path, "pool")) / "uploads"


def _make_directory(place: Place) -> None:
    """Raises Unavailable when the pool is not there: nothing is written where its file system should be."""
    check(
        (Path(place.path) / "volumes").is_dir(),
        Unavailable("the pool's directory is gone or not mounted", place.path, "mount it"),
    )
    _directory(place).mkdir(mode=0o700, exist_ok=True)


async def _write(part: Path, pieces: AsyncIterator[bytes], place: Place) -> tuple[bytes, int, str]:
    """All that comes, written down and durable: the first bytes, the length and the SHA-256 of all."""
    digest = hashlib.sha256()
    with _created(part) as file:
        async for piece in _large(pieces):
            check_room(place, len(piece))
            with told_apart(part.parent, "an upload"):
                await in_thread(_take, file, digest, piece)
        with told_apart(part.parent, "an upload"):
            await in_thread(_finish, file)
        length = file.tell()
    with part.open("rb") as file:
        return file.read(HEAD), length, digest.hexdigest()


def _created(part: Path) -> BinaryIO:
    with told_apart(part.parent, "an upload"):
        file = part.open("wb")
    os.fchmod(file.fileno(), 0o600)
    return file


async def _large(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same in larger pieces: each costs a turn in a thread."""
    kept = bytearray()
    async for piece in pieces:
        kept += piece
        if len(kept) >= PIECE:
            yield bytes(kept)
            kept.clear()
    yield bytes(kept)


def _take(file: BinaryIO, digest: hashlib._Hash, piece: bytes) -> None:
    digest.update(piece)
    write_sparsely(file, piece)


def _finish(file: BinaryIO) -> None:
    file.truncate()  # up to here: it may end in a hole
    file.flush()
    os.fsync(file.fileno())


def check_room(place: Place, needed: int) -> None:
    """Raises NoSpace when the pool would be left with less than its floor."""
    status = os.statvfs(place.path)
    free, floor = status.f_bavail * status.f_frsize, floor_of(status.f_blocks * status.f_frsize)
    check(
        free - needed >= floor,
        NoSpace(
            f"no room for more of what is sent: {humane_size(free)} free, of which {humane_size(floor)} must stay so",
            place.path,
            "free some, or use another pool: covey pool list",
        ),
    )


async def _measure(part: Path, format: str, label: str) -> tuple[int, int]:
    """The bytes that a guest sees, and those that a copy takes. Raises BadInput."""
    info = await _look(("info", "--output=json"), part, format, label)
    check_alone(info, str(part), label)
    measured = await _look(("measure", "--output=json", "-O", "qcow2"), part, format, label)
    return int(info["virtual-size"]), int(measured["required"])


async def _look(question: tuple[str, ...], part: Path, format: str, label: str) -> dict[str, Any]:
    argv = ("setpriv", "--pdeathsig", "KILL", *bounds(0), "qemu-img", *question, alone(str(part), format))
    try:
        done = await run(argv, timeout_s=LOOK_WITHIN_S, object=label, hint="is it whole?")
        answer: dict[str, Any] = json.loads(done.stdout)
    except StepFailed as error:
        said = error.what.rpartition(": ")[2][-300:]
        raise BadInput(f"it cannot be read as {format}: {said}", label, "look at it: qemu-img check") from error
    return answer


def _publish(part: Path, path: Path) -> None:
    part.rename(path)
    sync_directory(path.parent)


def _find(place: Place, coming: frozenset[str]) -> tuple[FoundUpload, ...]:
    found = []
    directory = _directory(place)
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and match["part"] != "part" and match["id"] not in coming:
            with contextlib.suppress(FileNotFoundError):  # a job was just done with it
                status = path.stat()
                age_s = max(0.0, time.time() - status.st_mtime)
                found.append(FoundUpload(match["id"], place, status.st_blocks * 512, age_s))
    return tuple(found)


def _remove_old(directory: Path, coming: frozenset[str]) -> None:
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and match["id"] not in coming and (match["part"] == "part" or path.stat().st_mtime < time.time() - KEPT_S):
            path.unlink()
