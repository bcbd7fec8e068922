"""Images that only pretend, for tests without disks. What a source holds follows from its name alone."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from covey.base.errors import BadInput, NotFound, check
from covey.host.image.debian import check_recipe
from covey.host.image.protocol import Progress
from covey.host.shelf import Shelf, Thing
from covey.host.storage.fake import file_key
from covey.model.image import ImageFacts, Recipe
from covey.model.names import check_path, check_sha256, check_uuid

FAKE_SIZE = 2 * 2**30  # of every fetched image, bytes
_DIRECTORY = Path("/fake/images")


class FakeImages:
    """`missing` names sources that are not there. On one shelf with a FakeStorage, its volumes can be clones of these
    images."""

    def __init__(self, shelf: Shelf, missing: frozenset[str] = frozenset()) -> None:
        self._shelf = shelf
        self._missing = missing

    async def ensure_fetched(self, image: str, source: str, sha256: str, job: str, progress: Progress) -> ImageFacts:
        wanted = check_sha256(sha256, f"image {image}")
        if not source.startswith(("http://", "https://")):
            check_path(source, f"image {image}")
        facts = self._finished(image)
        if facts is None:
            check(source not in self._missing, NotFound("there is no such file", source))
            form = "raw" if source.endswith((".raw", ".img", ".iso")) else "qcow2"
            facts = ImageFacts(form, FAKE_SIZE, FAKE_SIZE // 8, fake_sha256(source))
        check(
            not wanted or wanted == facts.sha256,
            BadInput(f"the SHA-256 is {facts.sha256}, not {wanted}", source, "look where the sum came from"),
        )
        return self._finish(image, job, facts, progress, "downloading")

    async def ensure_brought(
        self, image: str, facts: ImageFacts, address: str, origin: str, job: str, progress: Progress
    ) -> None:
        self._finish(image, job, facts, progress, "downloading")

    async def ensure_built(self, image: str, recipe: Recipe, job: str, progress: Progress) -> ImageFacts:
        check_recipe(recipe)
        facts = self._finished(image) or ImageFacts("qcow2", recipe.size, recipe.size // 8, fake_sha256(repr(recipe)))
        return self._finish(image, job, facts, progress, "installing")

    async def ensure_absent(self, image: str, job: str = "") -> None:
        thing = self._shelf.get(file_key(self.path(image)))
        if thing is not None and job in ("", thing["job"]):
            self._shelf.delete(file_key(self.path(image)))

    async def facts(self, image: str) -> ImageFacts | None:
        return self._finished(image)

    def path(self, image: str) -> Path:
        return _DIRECTORY / f"{check_uuid(image, 'image')}.image"

    async def images(self) -> tuple[tuple[str, str], ...]:
        found = self._shelf.items(file_key(_DIRECTORY))
        return tuple((str(thing["id"]), str(thing["job"])) for _, thing in found)

    def _finished(self, image: str) -> ImageFacts | None:
        thing = self._shelf.get(file_key(self.path(image)))
        return ImageFacts(**thing["facts"]) if thing else None

    def _finish(self, image: str, job: str, facts: ImageFacts, progress: Progress, what: str) -> ImageFacts:
        if self._finished(image) is None:
            progress(what, facts.file_size, facts.file_size)
            thing: Thing = {"id": image, "job": job, "facts": asdict(facts)}
            self._shelf.put(file_key(self.path(image)), thing)
        return facts


def fake_sha256(source: str) -> str:
    """The checksum of what a fake source holds."""
    return hashlib.sha256(source.encode()).hexdigest()
