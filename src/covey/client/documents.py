"""What the API answers, as types: for checking only, never imported at run time (the command line must start fast)."""

from __future__ import annotations

from typing import Any, TypedDict


class Problem(TypedDict):
    """An error as application/problem+json: `title` is the name of its kind in covey.base.errors."""

    title: str
    status: int
    detail: str
    object: str
    hint: str


class PlannedStep(TypedDict):
    number: int
    kind: str
    node: str
    title: str
    role: str
    meaning: str


class Awaited(TypedDict, total=False):
    condition: str
    deadline_s: float


class Plan(TypedDict):
    summary: str
    digest: str
    steps: list[PlannedStep]
    reasons: list[str]
    warnings: list[str]
    parts: list[str]
    awaits: Awaited | None


class JobStep(TypedDict):
    """`state` is done, running, pending, undone or failed."""

    number: int
    kind: str
    node: str
    title: str
    role: str
    state: str
    seconds: float | None


class Waiting(TypedDict):
    condition: str
    deadline_at: str


class Blocked(TypedDict):
    object: str
    by: int


class Progress(TypedDict, total=False):
    step: int
    text: str
    done: float | None
    total: float | None


class Child(TypedDict):
    id: int
    title: str


class Job(TypedDict, total=False):
    id: int
    kind: str
    title: str
    user: str
    reason: str
    state: str
    created_at: str
    planned_at: str | None
    ended_at: str | None
    after: list[int]
    step: int
    steps: list[JobStep]
    summary: str
    reasons: list[str]
    warnings: list[str]
    waiting: Waiting | None
    blocked: Blocked | None
    error: Problem | None
    left: list[str]
    parent: int
    children: list[Child]
    parts: int
    log: str
    progress: Progress | None
    digest: str
    request: dict[str, Any]
    secret: str  # of a new token, shown once


class Finding(TypedDict, total=False):
    id: str
    severity: str
    object: str
    name: str
    what: str
    why: str
    fix: str
    fixable: bool


class Verification(TypedDict):
    findings: list[Finding]
    checks: int
    nodes: int
    instances: int
    seconds: float


class Fixing(TypedDict):
    jobs: list[Job]
    left: list[Finding]


class Event(TypedDict, total=False):
    cursor: str
    at: str
    kind: str
    object: str
    text: str
    job: int | None
