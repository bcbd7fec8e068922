"""The registry that joins each kind of step to what the host does for it: one handler to carry it out, one to take it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from covey.base.errors import Bug, check
from covey.host.host import Host
from covey.model.step import FORWARD, Step

S = TypeVar("S", bound=Step)
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a handler works with: the machine, the tag of the job (P4), a way to tell progress, and the secrets that the step names."""

    host: Host
    job: str
    progress: Callable[[str, int, int], None]
    secrets: Mapping[str, str]


Handler = Callable[[Work, Any], Awaitable[Result | None]]
doers: dict[str, Handler] = {}
undoers: dict[str, Handler] = {}


def carries_out(
    step: type[S],
) -> Callable[[Callable[[Work, S], Awaitable[Result | None]]], Callable[[Work, S], Awaitable[Result | None]]]:
    """Decorator: this function brings about that end state and returns its typed facts."""

    def register(handler: Callable[[Work, S], Awaitable[Result | None]]) -> Callable[[Work, S], Awaitable[Result | None]]:
        doers[step.kind] = handler
        return handler

    return register


def takes_back(
    step: type[S],
) -> Callable[[Callable[[Work, S], Awaitable[Result | None]]], Callable[[Work, S], Awaitable[Result | None]]]:
    """Decorator: this function undoes what the job's own carrying out made, and no more. Of a pivot it says whether it was `done`: then
    it stays."""

    def register(handler: Callable[[Work, S], Awaitable[Result | None]]) -> Callable[[Work, S], Awaitable[Result | None]]:
        check(step.role != FORWARD, Bug("what only goes forward is not taken back", step.kind))
        undoers[step.kind] = handler
        return handler

    return register
