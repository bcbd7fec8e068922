"""Steps on instances."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.domain import Domain
from covey.model.seed import Seed
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOnInstance(Step):
    """What the steps on one instance share: its id, by which its node lets one of them at it at a time."""

    instance: str

    @property
    def object(self) -> str:
        return f"instance/{self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureSeed(Step, kind="seed@1", role=UNDOABLE):
    """The instance's cloud-init seed is on the node. User-data is fetched by its reference `secret`, never part of the plan (P13)."""

    seed: Seed
    secret: str  # "" for none

    @property
    def object(self) -> str:
        return f"instance/{self.seed.instance}"

    @property
    def title(self) -> str:
        return "cloud-init seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOnDomain(Step):
    """What the steps share that say how an instance's whole domain is to be."""

    domain: Domain

    @property
    def object(self) -> str:
        return f"instance/{self.domain.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureDefined(StepOnDomain, kind="defined@1", role=UNDOABLE):
    """The domain is known to the node's hypervisor as described."""

    @property
    def title(self) -> str:
        return "domain defined"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureRedefined(StepOnDomain, kind="redefined@1", role=UNDOABLE):
    """The domain is known to the hypervisor as `domain` describes, and a running guest has of it what can change while it runs; the rest
    it has from its next start on. Taken back, all is as `before` described. Returns `pending`, the names of what waits."""

    before: Domain

    @property
    def title(self) -> str:
        return "definition changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureRunning(StepOnInstance, kind="running@1", role=UNDOABLE):
    """The domain runs; unless it did already, as the start `generation`. Returns `pid`, and the `generation` that runs."""

    generation: int

    @property
    def title(self) -> str:
        return "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureGeneration(StepOnInstance, kind="generation@1", role=FORWARD):
    """The domain runs, and its run began as the start `generation` or later; an older run is cut first. Returns `pid`."""

    generation: int

    @property
    def title(self) -> str:
        return "running anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureAskedToStop(StepOnInstance, kind="asked-to-stop@1", role=UNDOABLE):
    """The domain does not run, or was asked over ACPI to shut down and still ran `graceful_s` seconds later. Taken back, a domain that
    still runs goes on as if it had not been asked. Returns `stopped`."""

    graceful_s: float

    @property
    def title(self) -> str:
        return "asked to shut down"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureStopped(StepOnInstance, kind="stopped@1", role=FORWARD):
    """The domain does not run: if it does, it is cut. What began as the start `generation`, or earlier, is not begun on the node again.
    Returns `cut`."""

    generation: int = 0  # 0: none is forbidden

    @property
    def title(self) -> str:
        return "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureInstanceAbsent(StepOnInstance, kind="instance-absent@1", role=FORWARD):
    """Neither domain, seed nor socket of the instance is left on the node; its volumes are. Its console log is removed too. With
    `keep_variables`, what its UEFI remembers is kept until it comes back, or is removed for good."""

    keep_variables: bool = False

    @property
    def title(self) -> str:
        return "domain and seed removed"
