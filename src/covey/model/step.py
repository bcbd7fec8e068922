"""Steps: one class per end state (DESIGN section 1.2), registered by kind and version (P14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from covey.model import codec

Role = Literal["undoable", "pivot", "forward"]
UNDOABLE: Role = "undoable"
PIVOT: Role = "pivot"
FORWARD: Role = "forward"


@dataclass(frozen=True, slots=True)
class ResultOf:
    """A fact that an earlier step will return: `field` of the result of step number `step` (from 0)."""

    step: int
    field: str


@codec.family
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An end state on one node. The docstring of each kind is its meaning, and is what `job info` prints.

    `object` is what the agent's mutex is held on ("instance/<id>"): one call at a time per object (P9). A kind that is `in_place` changes
    what a record describes where it lies: once tried and not answered, nobody may say that nothing was changed."""

    kind: ClassVar[str] = ""
    role: ClassVar[Role] = FORWARD
    in_place: ClassVar[bool] = False
    node: str

    def __init_subclass__(cls, kind: str = "", role: Role = FORWARD) -> None:
        if kind:
            cls.kind = kind
            cls.role = role
        if cls.kind:
            codec.member(Step, cls.kind, cls)

    @property
    def object(self) -> str:
        raise NotImplementedError

    @property
    def title(self) -> str:
        """One line for people: "volume 20G of web1 on n1"."""
        raise NotImplementedError

    @property
    def effect(self) -> str:
        """What of its title is this plan's own doing; what else the title tells of may change between the plan that was shown and the
        one that is carried out (P2)."""
        return self.title


def step_kinds() -> dict[str, type[Step]]:
    """Every kind of step of this release."""
    import covey.model.steps  # noqa: F401  (its modules register the kinds)

    return dict(codec.members(Step))
