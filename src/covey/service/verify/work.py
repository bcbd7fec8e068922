"""What a comparison finds, and one under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from covey.model.request import Request
from covey.model.view import ClusterView

ERROR = "error"
WARNING = "warning"
AND_FIX = "covey cluster verify --fix"
NO_TAG = "it carries no job's tag"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `name` says what kind of thing, `fix` is what a person does about it, `request` what
    `cluster verify --fix` does (None: nothing can be done by itself)."""

    id: str
    severity: str  # error | warning
    object: str
    name: str
    what: str
    why: str
    fix: str
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[Finding, ...]
    checks: int
    nodes: int
    instances: int


@dataclass(slots=True)
class Work:
    """One comparison under way. `before` and `after` are the views around the moment at which the nodes were asked: what changed in
    between, and what running jobs are at, is nobody's fault."""

    before: ClusterView
    after: ClusterView
    busy: frozenset[str]
    last_job: int
    findings: list[Finding] = field(default_factory=list)
    checks: int = 0

    def is_settled(self, collection: str, id: str) -> bool:
        """Whether nobody is at the object, and nobody was meanwhile. Volumes have no record of their own."""
        if f"{collection}/{id}" in self.busy:
            return False
        is_record = collection in self.after.collections
        return not is_record or self.before.revision_of(collection, id) == self.after.revision_of(collection, id)

    def find(
        self, key: str, severity: str, object: object, name: str, what: str, why: str, fix: str, request: Request | None = None
    ) -> None:
        self.findings.append(Finding(f"{name}:{key}", severity, str(object), name, what, why, fix, request))

    def orphan(self, key: str, object: str, name: str, what: str, why: str, job: str, request: Request) -> None:
        """What no record names can be removed, unless a job made it that is still to come: then the records are what is wrong."""
        restoration = self.after.restoration
        if restoration and job.isdigit() and restoration.has_lost(int(job)):
            why = f"made by job {job}, after the backup that the records were {restoration.how} from: they do not know of it"
            self.find(
                key, ERROR, object, name, what, why, "restore a newer backup, or remove it by hand; --fix leaves this alone"
            )
        elif job.isdigit() and int(job) > self.last_job:
            why = f"made by job {job}, and the latest here is {self.last_job}: is the store an older copy of the true one?"
            self.find(key, ERROR, object, name, what, why, "bring back the true store; --fix leaves this alone")
        else:
            self.find(key, WARNING, object, name, what, f"made by job {job}" if job else why, AND_FIX, request)

    def check(self) -> None:
        self.checks += 1
