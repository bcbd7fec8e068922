"""Jobs: requests under way (P1, P15), and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from covey.model.plan import Plan, StepReport
from covey.model.request import Request
from covey.model.step import Step

ENDED = ("succeeded", "failed", "cancelled", "superseded", "needs_repair")


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who leads: raised in the election's transaction, compared by every transaction of the leader (P10, S13). Its id is "leader".

    `right` is the key of the lease under which it leads: while that is there, nobody else may. "" where nobody else could. `address` is
    where its controller takes in what others pass on: HOST:PORT."""

    incarnation: int
    epoch: int
    holder: str
    since: float
    right: str = ""
    address: str = ""
    id: str = "leader"


@dataclass(frozen=True, slots=True)
class Job:
    """A request and how far it is. A record while it is under way.

    `state` is queued, running, undoing, waiting, or one of ENDED. `step` is the number of steps done, or, while undoing, of those not
    yet taken back. `token` names the transaction that wrote this version, so that a retry finds its own (P10). `expected` is the digest
    of the plan that its user was shown, "" when none was (P2). `error` is a CoveyError as JSON."""

    id: int
    request: Request
    user: str
    state: str
    created_at: float
    reason: str = ""
    priority: int = 0
    after: tuple[int, ...] = ()
    expected: str = ""
    token: str = ""
    planned_at: float = 0.0
    ended_at: float = 0.0
    step: int = 0
    reports: tuple[StepReport, ...] = ()
    waiting_since: float = 0.0
    cancelled_by: str = ""
    error: dict[str, Any] | None = None
    left: tuple[str, ...] = ()  # what could not be taken back, a sentence each
    attempt: int = 0  # of the present forward step, raised with each retry
    log: str = ""  # the last 4 KiB of what its steps said
    parent: int = 0  # of a job that another one began (P7)
    children: tuple[int, ...] = ()  # the jobs that this one has begun, as its plan has them in order
    request_id: str = ""  # the API's request that brought it in, as the logs know it; "" for what Covey does by itself

    def __str__(self) -> str:
        return f"job {self.id}"

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The plan of a running job, written once beside it."""

    id: int  # the job's
    plan: Plan


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that is over, under `history/job/`."""

    job: Job
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class Debris:
    """What an undo had to leave behind (P5): the step to take back, tried again by the healer."""

    id: str  # <job>.<step>
    job: int
    step: Step
    why: str
    since: float

    def __str__(self) -> str:
        return f"debris {self.id}"
