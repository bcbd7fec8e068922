"""Steps on the node itself."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.step import UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureAnswer(Step, kind="answer@1", role=UNDOABLE):
    """The node's agent answers. Changes nothing."""

    @property
    def object(self) -> str:
        return ""

    @property
    def title(self) -> str:
        return "the agent answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureListening(Step, kind="listening@1", role=UNDOABLE):
    """The node's agent listens at `address` (HOST:PORT), too. It stops to listen where it did once the leader has come to it by a new
    address that is recorded."""

    address: str

    @property
    def object(self) -> str:
        return f"door/{self.address}"

    @property
    def title(self) -> str:
        return f"the agent listens at {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureAccelerator(Step, kind="accelerator@1", role=UNDOABLE):
    """The node is known to run guests under the wanted accelerator; `auto` proves KVM with a guest and else takes TCG.
    Returns `accelerator` and `why`."""

    wanted: str
    timeout_s: float

    @property
    def object(self) -> str:
        return "accelerator"

    @property
    def title(self) -> str:
        return f"accelerator {self.wanted} proven"
