"""Golden images as files of this machine: fetched or built, checked, read-only.

DIRECTORY/ID.image           the image: always whole, never written again
DIRECTORY/ID.tag             who asked for it, and its facts once it is whole (P4, P6): written before the image
DIRECTORY/.ID.part           a fetch under way, kept after a cut (ID.part.json: what it is a part of)
DIRECTORY/.ID.build/         a build under way
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput, NoSpace, Refused, StepFailed, check, require
from covey.base.files import remove_durably, sync_directory, write_durably
from covey.base.identity import CertificateFiles, agent_name, caller_context
from covey.host.faults import FULL, told_apart
from covey.host.formats import LARGEST_QCOW2, SECTOR, find_format
from covey.host.image import build
from covey.host.image.fetch import check_room, copy_file, memo_of
from covey.host.image.protocol import Progress
from covey.host.threads import in_thread
from covey.model.image import ImageFacts, Recipe
from covey.model.names import check_path, check_sha256, check_uuid

_NAME = re.compile(r"\.?(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<part>image|tag|part|part\.json|build)")


class HostImages:
    """`directory` is made when it is absent. `owner` is the (uid, gid) that QEMU runs as: its group may read images.
    `identity` is what this machine shows to other nodes, from which it gets images."""

    def __init__(self, directory: Path, owner: tuple[int, int] | None = None, identity: CertificateFiles | None = None) -> None:
        self._directory = directory
        self._owner = owner
        self._identity = identity
        self._building = asyncio.Lock()  # one at a time: a build takes all the machine can give

    async def ensure_fetched(self, image: str, source: str, sha256: str, job: str, progress: Progress) -> ImageFacts:
        wanted = check_sha256(sha256, f"image {image}")
        remote = source.startswith(("http://", "https://"))
        if not remote:
            check_path(source, f"image {image}")
        if facts := self._finished(image):
            check(not wanted or facts.sha256 == wanted, _wrong_sum(source, wanted, facts.sha256))
            return facts
        await in_thread(self._claim, image, job)
        part = self._part(image)
        async with self._clean_unless_cut(image):
            digest = await (_downloaded(source, part, progress) if remote else copy_file(Path(source), part, progress))
            check(not wanted or digest == wanted, _wrong_sum(source, wanted, digest))
            _check_usable(part, source)
        return await in_thread(self._finish, image, job, part, digest)

    async def ensure_brought(
        self, image: str, facts: ImageFacts, address: str, origin: str, job: str, progress: Progress
    ) -> None:
        if found := self._finished(image):
            check(found.sha256 == facts.sha256, _wrong_sum(f"image {image}", facts.sha256, found.sha256))
            return
        files = require(self._identity, Refused("this machine is no node of several", f"image {image}"))
        await in_thread(self._claim, image, job)
        part = self._part(image)
        async with self._clean_unless_cut(image):
            digest = await _brought(f"https://{address}/images/{image}", part, progress, files, agent_name(origin))
            check(digest == facts.sha256, _wrong_sum(f"image {image} at {address}", facts.sha256, digest))
        await in_thread(self._finish, image, job, part, digest)

    async def ensure_built(self, image: str, recipe: Recipe, job: str, progress: Progress) -> ImageFacts:
        if facts := self._finished(image):
            return facts
        work = build.Build(image, recipe, self._directory / f".{check_uuid(image, 'image')}.build")
        await in_thread(self._claim, image, job)
        async with self._clean_unless_cut(image), self._building:
            check_room(self._directory, build.NEEDED)
            made = await _no_space_told(work, progress)
            digest = await in_thread(_digest, made)
            facts = await in_thread(self._finish, image, job, made, digest)
        await build.clear(work.directory)
        return facts

    async def ensure_absent(self, image: str, job: str = "") -> None:
        tag = self._read_tag(image)
        if job and (tag is None or tag["job"] != job):
            return
        path = self.path(image)
        check(
            tag is not None or not path.exists(),
            Refused(f"{path} is there, but Covey did not make it", f"image {image}", "look at it and move it away"),
        )
        if self._directory.exists():
            await self._remove_unfinished(image)
            await in_thread(remove_durably, path)
            await in_thread(remove_durably, self._tag(image))

    async def facts(self, image: str) -> ImageFacts | None:
        return self._finished(image)

    def path(self, image: str) -> Path:
        return self._directory / f"{check_uuid(image, 'image')}.image"

    async def images(self) -> tuple[tuple[str, str], ...]:
        if not self._directory.exists():
            return ()
        parts: dict[str, set[str]] = {}
        for path in self._directory.iterdir():
            if match := _NAME.fullmatch(path.name):
                parts.setdefault(match["id"], set()).add(match["part"])
        found = []
        for image in sorted(parts):
            tag = self._read_tag(image) or {}
            if parts[image] != {"tag"} or "facts" not in tag:  # a finished image of which only the tag is left is gone
                found.append((image, str(tag.get("job", ""))))
        return tuple(found)

    def _part(self, image: str) -> Path:
        return self._directory / f".{image}.part"

    def _tag(self, image: str) -> Path:
        return self._directory / f"{check_uuid(image, 'image')}.tag"

    def _read_tag(self, image: str) -> dict[str, Any] | None:
        try:
            tag: dict[str, Any] = json.loads(self._tag(image).read_bytes())
        except FileNotFoundError:
            return None
        return tag

    def _finished(self, image: str) -> ImageFacts | None:
        """The facts of an image that is here; None when it must still be made. Raises Refused for a foreign file."""
        if not self.path(image).exists():
            return None
        tag = self._read_tag(image)
        if tag is None or "facts" not in tag:
            raise Refused(f"{self.path(image)} is there, but Covey did not make it", f"image {image}", "move it away")
        return ImageFacts(**tag["facts"])

    def _claim(self, image: str, job: str) -> None:
        """Write the tag: from here on all that lies under the image's id is the job's."""
        with told_apart(self._directory, "an image"):
            self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._directory.chmod(0o711)
            write_durably(self._tag(image), json.dumps({"job": job}).encode())

    def _finish(self, image: str, job: str, made: Path, digest: str) -> ImageFacts:
        """Facts first, then the name: an image that is there has its facts."""
        format = find_format(made)
        facts = ImageFacts(format.name, format.size, made.stat().st_blocks * 512, digest)
        with told_apart(self._directory, "an image"):
            if self._owner:
                os.chown(made, 0, self._owner[1])
            made.chmod(0o440)
            _sync_file(made)
            write_durably(self._tag(image), json.dumps({"job": job, "facts": asdict(facts)}).encode())
            made.rename(self.path(image))
            sync_directory(self._directory)
        return facts

    @asynccontextmanager
    async def _clean_unless_cut(self, image: str) -> AsyncIterator[None]:
        """Whatever fails leaves nothing, save the part of a download that can be continued (its memo is there)."""
        try:
            yield
        except BaseException as error:
            if not memo_of(self._part(image)).exists() or isinstance(error, BadInput):
                await self._remove_unfinished(image)
                if not self.path(image).exists():
                    await in_thread(remove_durably, self._tag(image))
            raise

    async def _remove_unfinished(self, image: str) -> None:
        part = self._part(check_uuid(image, "image"))
        part.unlink(missing_ok=True)
        memo_of(part).unlink(missing_ok=True)
        await build.clear(self._directory / f".{image}.build")


async def _no_space_told(work: build.Build, progress: Progress) -> Path:
    """Build; tools can say only in words that the disk is full."""
    try:
        return await build.build(work, progress)
    except StepFailed as error:
        if any(os.strerror(number) in error.what for number in FULL):
            place = work.directory.parent
            raise NoSpace("no space left to build an image", place, "remove images that are not used") from error
        raise


def _check_usable(path: Path, source: str) -> None:
    """Raises BadInput unless a guest can use the file, and the file alone: a qcow2 may name others, and would show
    their content to a guest, whoever may read them here."""
    found = find_format(path)
    check(
        found.name in ("raw", "qcow2"),
        BadInput(f"it is {found.name}, neither raw nor qcow2", source, "convert or unpack it: qemu-img convert -O qcow2"),
    )
    check(
        found.complete,
        BadInput("the qcow2 refers to another file", source, "make it stand alone: qemu-img convert -O qcow2"),
    )
    check(not found.flaw, BadInput(found.flaw, source, "look at it: qemu-img check"))
    check(found.size > 0, BadInput("the image is empty", source))
    check(
        found.size % SECTOR == 0,
        BadInput(f"it has {found.size} bytes, which is no whole number of sectors", source, "is it a disk image?"),
    )
    check(found.name == "raw" or found.size <= LARGEST_QCOW2, BadInput("its header names an impossible size", source))


def _wrong_sum(source: str, wanted: str, found: str) -> BadInput:
    return BadInput(f"the SHA-256 is {found}, not {wanted}", source, "look where the sum came from; nothing was kept")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _brought(url: str, part: Path, progress: Progress, files: CertificateFiles, name: str) -> str:
    """As `download`, from the agent of another node, which must prove to have that name."""
    from covey.host.image.download import download

    return await download(url, part, progress, caller_context(files), name)


async def _downloaded(url: str, part: Path, progress: Progress) -> str:
    """As `download`, which an agent takes in, with httpx2, only when it needs it: idle ones are to be small."""
    from covey.host.image.download import download

    return await download(url, part, progress)
