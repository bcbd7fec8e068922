"""What is answered of what is wrong: status, verification and repairs."""

from __future__ import annotations

from typing import Literal

from covey.api.documents import Document, JobDocument, Time


class FindingDocument(Document):
    id: str
    severity: Literal["error", "warning"]
    object: str
    name: str
    what: str
    why: str
    fix: str
    fixable: bool


class VerdictDocument(Document):
    findings: list[FindingDocument]
    checks: int
    nodes: int
    instances: int
    seconds: float


class RoomMadeDocument(Document):
    """The bytes that the largest member's database takes, and whether it is full still."""

    size: int
    full: bool


class FixDocument(Document):
    """The jobs that mend, and the findings that no job mends."""

    jobs: list[JobDocument]
    left: list[FindingDocument]


class StatusLine(Document):
    severity: Literal["error", "warning"]
    object: str
    what: str
    since_at: Time | None
    fix: str


class StatusNodes(Document):
    all: int
    answering: int


class StatusLeader(Document):
    """Whose controller leads, by the records."""

    node: str
    epoch: int
    since_at: Time | None


class StatusDocument(Document):
    """One screen: is all well, and if not, what is to be done."""

    cluster: str | None
    well: bool
    summary: str
    findings: list[StatusLine]
    nodes: StatusNodes
    leader: StatusLeader | None
    copies: list[str]
    instances: dict[str, int]
    jobs: dict[str, int]
    as_of: Time
