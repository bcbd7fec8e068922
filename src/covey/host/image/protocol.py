"""What a machine does with golden images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from covey.model.image import ImageFacts, Recipe

Progress = Callable[[str, int, int], None]  # what is being done, units done, units in all (0 when unknown)


class Images(Protocol):
    async def ensure_fetched(self, image: str, source: str, sha256: str, job: str, progress: Progress) -> ImageFacts:
        """The image's file is here, complete, checked and read-only. `source` is an absolute path or an http(s) URL; a
        fetch that was cut short goes on where it stopped. Raises NotFound, BadInput (wrong checksum, neither raw nor
        qcow2, a qcow2 with a backing file), NoSpace, Unavailable (the server does not answer)."""
        ...

    async def ensure_brought(
        self, image: str, facts: ImageFacts, address: str, origin: str, job: str, progress: Progress
    ) -> None:
        """The image's file is here, copied from the node with the id `origin` whose agent listens at `address`, and is what `facts` say;
        one that was cut short goes on where it stopped. Raises NotFound when it is not there, NoSpace, Unavailable, BadInput when another
        one came."""
        ...

    async def ensure_built(self, image: str, recipe: Recipe, job: str, progress: Progress) -> ImageFacts:
        """The image is built, sealed (no machine-id, no host keys) and read-only. Raises StepFailed with the builder's
        last lines, NoSpace, Unavailable when the builder is not installed."""
        ...

    async def ensure_absent(self, image: str, job: str = "") -> None:
        """No file of the image is left. With `job`, only if it carries that job's tag."""
        ...

    async def facts(self, image: str) -> ImageFacts | None:
        """What the image's file is; None unless it is here, complete. Raises Refused for a foreign file in its place."""
        ...

    def path(self, image: str) -> Path:
        """Where the image's file is, or would be."""
        ...

    async def images(self) -> tuple[tuple[str, str], ...]:
        """(id, job) of every image file here, complete or not."""
        ...
