"""Steps on NICs."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.domain import DomainNic
from covey.model.filter import Filter
from covey.model.step import FORWARD, UNDOABLE, Step
from covey.model.steps.instance import StepOnInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNicAttached(StepOnInstance, kind="nic-attached@1", role=UNDOABLE):
    """The NIC is in the domain's definition and, when the domain runs, in the guest."""

    nic: DomainNic

    @property
    def title(self) -> str:
        return f"NIC {self.nic.index} attached to {self.nic.bridge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNicSet(StepOnInstance, kind="nic-set@1", role=UNDOABLE):
    """The NIC, in the definition and in a running guest, is on this bridge and its link up or down as described. Taken back, it is as
    `before`."""

    nic: DomainNic
    before: DomainNic

    @property
    def title(self) -> str:
        return f"NIC {self.nic.index} on {self.nic.bridge}, link {'up' if self.nic.up else 'down'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNicDetached(StepOnInstance, kind="nic-detached@1", role=FORWARD):
    """The NIC is neither in the domain's definition nor in the guest, and no packet rule for it is left."""

    nic: int
    timeout_s: float

    @property
    def title(self) -> str:
        return f"NIC {self.nic} detached"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFiltered(StepOnInstance, kind="filtered@1", role=UNDOABLE):
    """What each NIC of the instance may send and receive is so, whether it runs or not. Taken back, it is as `before`."""

    filters: tuple[Filter, ...]
    before: tuple[Filter, ...]

    @property
    def title(self) -> str:
        return "packet rules of its NICs"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFiltersIntact(Step, kind="filters-intact@1", role=FORWARD):
    """The node's packet rules of NICs are what it keeps of them: flushed or changed ones are made again."""

    @property
    def object(self) -> str:
        return "filters"

    @property
    def title(self) -> str:
        return "packet rules of all NICs"
