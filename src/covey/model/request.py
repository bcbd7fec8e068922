"""Requests: what people ask for, one class a verb.

A request is what a job keeps (P1) and what the API takes as its body; `seed` and `now` are filled in when it is accepted, so that planning
it is pure (P6). `check()` refuses what is not well-formed, without looking at any state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covey.model import codec


@codec.family
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    kind: ClassVar[str] = ""  # noun.verb; also the permission that it takes
    seed: str = ""  # 32 random hex digits
    now: float = 0.0  # seconds since the epoch

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            cls.kind = kind
        if cls.kind:
            codec.member(Request, cls.kind, cls)

    def check(self) -> None:
        """Raises BadInput, naming the field."""

    @property
    def title(self) -> str:
        """As `job list` shows it: "instance add web1"."""
        return self.kind.replace(".", " ")
