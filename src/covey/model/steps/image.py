"""Steps on images."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.image import ImageFacts, Recipe
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImageFetched(Step, kind="image-fetched@1", role=UNDOABLE):
    """The image's file is on the node: complete, checked against its SHA-256 if one is given, read-only.
    Returns `format`, `size`, `file_size` and `sha256`."""

    image: str
    source: str
    sha256: str

    @property
    def object(self) -> str:
        return f"image/{self.image}"

    @property
    def title(self) -> str:
        return f"image fetched from {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImageBuilt(Step, kind="image-built@1", role=UNDOABLE):
    """The image is built on the node, sealed and read-only. Returns `format`, `size`, `file_size` and `sha256`."""

    image: str
    recipe: Recipe

    @property
    def object(self) -> str:
        return f"image/{self.image}"

    @property
    def title(self) -> str:
        return f"image built from {self.recipe.suite}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImageBrought(Step, kind="image-brought@1", role=UNDOABLE):
    """The image's file, which has these `facts`, is on the node: copied from the node `origin` (id), whose agent listens at `address`.
    Taken back, it stays: the next one who needs it finds it."""

    image: str
    facts: ImageFacts
    origin: str
    origin_name: str
    address: str

    @property
    def object(self) -> str:
        return f"image/{self.image}"

    @property
    def title(self) -> str:
        return f"image brought from {self.origin_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImageAbsent(Step, kind="image-absent@1", role=FORWARD):
    """No file of the image is left on the node."""

    image: str

    @property
    def object(self) -> str:
        return f"image/{self.image}"

    @property
    def title(self) -> str:
        return "image files removed"
