"""Steps on layers: volumes that lie on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covey.base.units import humane_size
from covey.model.domain import Domain
from covey.model.pool import Volume
from covey.model.step import FORWARD, UNDOABLE, Step
from covey.model.steps.instance import StepOnDomain, StepOnInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureOverlay(Step, kind="overlay@1", role=UNDOABLE):
    """The volume exists and lies on `base`: what is written goes to it, what is not is read from there. Empty when it is made. It is not
    taken back while a guest has it. Returns `size`."""

    volume: Volume
    base: Volume

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"empty layer for a disk of {humane_size(self.volume.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFrozen(StepOnDomain, kind="frozen@1", role=FORWARD):
    """The domain's disks are as described: each that lies on what it was before takes all writes from one moment on, the same for all
    disks, also while the guest runs; what lies below is frozen. File systems are at rest in that moment if the guest's agent answers.
    Returns `quiesced`."""

    @property
    def title(self) -> str:
        return "disks frozen, all at one moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureDisksReplaced(StepOnDomain, kind="disks-replaced@1", role=FORWARD):
    """The stopped domain is defined as described, whatever disks it had before."""

    @property
    def title(self) -> str:
        return "disks replaced by those of the snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureMerged(StepOnInstance, kind="merged@1", role=FORWARD):
    """The volume `base` holds what `top` on it showed, what lay on `top` lies on `base`, and the domain is as described: QEMU does it
    while the guest runs. `above` are the volumes that lie on `top`; when there is none, `top` is the disk itself."""

    in_place: ClassVar[bool] = True
    disk: int
    top: Volume
    base: Volume
    above: tuple[Volume, ...]
    domain: Domain

    @property
    def title(self) -> str:
        return f"layers of disk {self.disk} merged"
