"""Plans: what a planner answers, a person reads and the engine carries out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from covey.base.errors import Bug
from covey.model import codec
from covey.model.request import Request
from covey.model.step import FORWARD, PIVOT, UNDOABLE, ResultOf, Step


@dataclass(frozen=True, slots=True)
class Claim:
    """Room that a running plan counts as used in every view (P1): `amount` bytes of `pool` on `node`."""

    node: str
    pool: str
    amount: int


@dataclass(frozen=True, slots=True)
class Uses:
    """What a plan names: objects nobody else may use meanwhile, and objects that must merely stay as they are.
    An object is "instance/<id>", "pool/<id>" and so on."""

    exclusive: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    def conflicts(self, other: Uses) -> str:
        """The first object that forbids to run both, or ""."""
        for mine, theirs in ((self.exclusive, (*other.exclusive, *other.shared)), (self.shared, other.exclusive)):
            for name in mine:
                if name in theirs:
                    return name
        return ""


@dataclass(frozen=True, slots=True)
class Write:
    """A record to put, or a key to delete, in the same transaction as the plan's begin, end or undoing.

    `record` is the encoded record (None deletes); `results` fills fields of it from what steps returned. When `fields` are named, only
    they change in the record as it is by then: others may have written to it since it was planned."""

    key: str
    record: dict[str, Any] | None
    results: dict[str, ResultOf] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Await:
    """A condition to wait for after the steps, holding nothing (P8). `condition` is "ready": the instance's generation reports so."""

    condition: str
    instance: str
    generation: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, and why. Pure value (P6): carried out as it stands or not at all.

    `begin` is written when the plan is committed, `pivoted` when its pivot is done, `success` with the last step, `undone` when everything
    was taken back.
    `summary` is one sentence; `reasons` say why so; `warnings` what a person should know before. `repair` is the command to give when a
    forward step cannot be finished."""

    summary: str
    steps: tuple[Step, ...] = ()
    uses: Uses = Uses()
    claims: tuple[Claim, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    begin: tuple[Write, ...] = ()
    success: tuple[Write, ...] = ()
    undone: tuple[Write, ...] = ()
    awaits: Await | None = None
    repair: str = ""
    pivoted: tuple[Write, ...] = ()
    children: tuple[Request, ...] = ()  # jobs of their own after the steps, begun in this order (P7)
    at_once: int = 1  # how many of them are under way at a time

    def __post_init__(self) -> None:
        order = {UNDOABLE: 0, PIVOT: 1, FORWARD: 2}
        ranks = [order[step.role] for step in self.steps]
        if ranks != sorted(ranks) or ranks.count(1) > 1:
            raise Bug("a plan must be undoable steps, at most one pivot, then forward steps (P3)", self.summary)

    @property
    def digest(self) -> str:
        """What was shown is what is done (P2): equal digests mean equal steps, and the same records gone in the end. Identifiers and times drawn for this one plan do not
        count, as a dry run draws others; nor do reasons and warnings, which tell of figures of the moment. Neither does what others
        changed meanwhile: which ports of a network lead to them, and whether a layer goes along because nobody needs it any more. So
        of many that were shown together each may go before the other."""
        from covey.model import record as records

        layers = records.key("layer", "")
        gone = sorted(write.key for write in self.success if write.record is None)
        aside = {f"volume/{key.removeprefix(layers)}" for key in gone if key.startswith(layers)}
        lost = [key for key in gone if not key.startswith(layers)]
        steps = [(step.kind, step.node, step.effect) for step in self.steps if step.object not in aside]
        shown = [self.summary, steps, lost, *([child.title for child in self.children],) * bool(self.children)]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of one step: times are seconds since the epoch, 0 when it has not been; `result` is its typed facts (P6)."""

    started_at: float = 0.0
    ended_at: float = 0.0
    undone_at: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


def nothing(summary: str) -> Plan:
    """The plan for a request that is fulfilled already."""
    return Plan(summary)


def put(record: Any, **results: ResultOf) -> Write:
    from covey.model import record as records

    return Write(records.key_of(record), codec.encode(record), results)


def change(record: Any, *fields: str, **results: ResultOf) -> Write:
    """Give these fields of a record that exists the values that they have in `record`, or that steps returned."""
    from covey.model import record as records

    return Write(records.key_of(record), codec.encode(record), results, (*fields, *results))


def delete(record: Any) -> Write:
    from covey.model import record as records

    return Write(records.key_of(record), None)
