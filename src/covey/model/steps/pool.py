"""Steps on pools."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.pool import Place
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsurePool(Step, kind="pool@1", role=UNDOABLE):
    """The place exists on the node, is writable and belongs to Covey."""

    pool: str
    place: Place

    @property
    def object(self) -> str:
        return f"pool/{self.pool}"

    @property
    def title(self) -> str:
        return f"{self.place.template} pool {self.place.path}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsurePoolAbsent(Step, kind="pool-absent@1", role=FORWARD):
    """Nothing of Covey's is left in the place; the directory itself stays if others use it."""

    pool: str
    place: Place

    @property
    def object(self) -> str:
        return f"pool/{self.pool}"

    @property
    def title(self) -> str:
        return f"{self.place.template} pool {self.place.path} given up"
