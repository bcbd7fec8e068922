"""Steps by which a guest moves while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.step import PIVOT, UNDOABLE
from covey.model.steps.instance import StepOnDomain, StepOnInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureExpected(StepOnInstance, kind="expected@1", role=UNDOABLE):
    """The node lets the running guest in from the node `source` (id), and from no other, as the start `generation`. Taken back, it lets it in
    no more, and nothing of it is on its way."""

    source: str
    source_name: str
    generation: int

    @property
    def title(self) -> str:
        return f"guest expected from {self.source_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureMigrated(StepOnDomain, kind="migrated@1", role=PIVOT):
    """The guest runs on the node `to` (id), whose agent listens at `address`, as `domain` and as the start `generation`; here it runs no
    more, and no start below that is begun here again. `disks` are the indexes of those whose content goes with it, `whole` or what lies
    above their images. Taken back, it is
    given up and the guest runs on here, unless it was over: then `done`. Returns `sent` bytes, `took_s`, and `stood_s`, for which the
    guest stood still."""

    generation: int
    to: str
    to_name: str
    address: str
    disks: tuple[int, ...]
    whole: bool = False
    bandwidth: int = 0  # bytes a second, 0 for no limit
    downtime_s: float = 0.0  # 0: the usual
    slows_guest: bool = True

    @property
    def title(self) -> str:
        copied = f", {len(self.disks)} disk{'' if len(self.disks) == 1 else 's'} copied" if self.disks else ""
        return f"guest runs on {self.to_name}{copied}"
