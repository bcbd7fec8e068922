"""What a hypervisor does for one machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from covey.host.migration.protocol import Moved, Offer, Passage, Pipe, Told, Wish
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, DomainNic, Drift, FoundDomain
from covey.model.machine import Capabilities
from covey.model.node import NO_TRAFFIC, Traffic
from covey.model.pool import Volume
from covey.model.shape import Shape


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running domain uses. `cpu_s` is total CPU time in seconds; memory in bytes."""

    instance: str
    cpu_s: float
    memory: int
    traffic: Traffic = NO_TRAFFIC


class Hypervisor(Protocol):
    """All calls raise Unavailable when the hypervisor's daemon does not answer; `ensure_` calls may be repeated."""

    async def prove(self, wanted: str, timeout_s: float) -> tuple[str, str]:
        """The accelerator that works: "kvm" only when a guest of our own really ran under it within `timeout_s` seconds; and a
        sentence why. `wanted` is auto, kvm or tcg. Raises Refused when kvm was asked and does not work."""
        ...

    async def ensure_defined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> None:
        """The domain is known to the hypervisor as described (`attachments` by id of volume, and of the ISO), tagged with `job` if it is new.
        Raises Refused for a domain of that UUID that Covey did not make."""
        ...

    async def ensure_redefined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> Shape | None:
        """The definition is as described, and a running guest was asked for what of it can change while it runs, with some seconds to
        take it. Returns what the guest is then, None when it does not run. Raises StepFailed, and changes nothing, for a definition
        that cannot be."""
        ...

    async def ensure_running(self, instance: str, generation: int) -> int:
        """The domain runs (its pid is returned); started as `generation` unless it runs already. A paused one is resumed.
        Raises NotFound when not defined, NoSpace when the host has no memory for it, StepFailed with QEMU's words."""
        ...

    async def ensure_generation(self, instance: str, generation: int) -> int:
        """The domain runs and its run was started as `generation` or later: an older run is cut first."""
        ...

    async def ensure_stopped(self, instance: str) -> bool:
        """The domain does not run: it is cut if it did, and then True is returned. Absent counts as stopped."""
        ...

    async def ensure_asked_to_stop(self, instance: str, graceful_s: float) -> bool:
        """The domain does not run, or was asked over ACPI and still ran `graceful_s` seconds later (it is not cut); returns whether it has
        stopped. What stops after that was stopped by order, until `ensure_running` finds it still running."""
        ...

    async def ensure_absent(self, instance: str, job: str = "", keep_variables: bool = False) -> None:
        """Neither domain nor any of its files (sockets, NVRAM, console log) is left; it must not run. With `job`, only if it was
        defined by that job, and what was kept of a former life stays. With `keep_variables`, what its UEFI remembers is kept for when
        it is defined again. Raises Refused while it runs."""
        ...

    async def ensure_attached(self, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
        """The disk is in the definition and, when the domain runs, in the guest."""
        ...

    async def ensure_detached(self, instance: str, disk: int, timeout_s: float) -> None:
        """The disk is neither in the definition nor in the guest. Raises Refused when the guest does not let it go."""
        ...

    async def ensure_nic_attached(self, instance: str, nic: DomainNic) -> None:
        """The NIC is in the definition and, when the domain runs, in the guest, behind the interface `tap_of` names."""
        ...

    async def ensure_nic_set(self, instance: str, nic: DomainNic) -> None:
        """A NIC that is attached is on this bridge and its link so, in the definition and in a running guest. Raises NotFound when it is
        not attached."""
        ...

    async def ensure_nic_detached(self, instance: str, nic: int, timeout_s: float) -> None:
        """The NIC is neither in the definition nor in the guest. Raises Refused when the guest does not let it go."""
        ...

    async def ensure_guest_size(self, instance: str, disk: int, size: int) -> bool:
        """A running guest's disk shows at least `size` bytes, growing the volume through QEMU. False when no guest runs: whoever asked
        must grow the volume where it lies."""
        ...

    async def ask_guest(self, instance: str, command: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """What the agent within a running guest answers to a command (qemu-guest-agent), from within at most a few times `timeout_s`
        seconds. Raises Refused when it does not answer, or says no. A guest that hangs holds up nobody else."""
        ...

    async def screenshot(self, instance: str) -> bytes:
        """What is on a running guest's screen, as PNG. Raises NotFound, Refused when it does not run."""
        ...

    async def capabilities(self, machine: str) -> Capabilities:
        """What guests of a machine type can have here."""
        ...

    async def ensure_overlaid(self, domain: Domain, attachments: dict[str, Attachment]) -> bool:
        """The known domain is defined as described, and a running guest's disks are those: each that is another than now must lie on
        what the guest has, and all take over in one moment. Returns whether the guest's file systems were at rest in it. Raises
        NotFound when it is not defined, Refused when a disk lies on something else."""
        ...

    async def ensure_merged(
        self,
        domain: Domain,
        disk: int,
        top: Volume,
        base: Volume,
        attachments: dict[str, Attachment],
        told: Callable[[int, int], None],
    ) -> bool:
        """A running guest reads from `base` what `top` on it held (its QEMU has written it there, and `told` hears how far it is), and the
        domain is defined as described. Returns false, and has done nothing, when no running guest has `top` open. Raises StepFailed
        with QEMU's words."""
        ...

    async def ensure_flat(
        self, instance: str, disk: int, volume: Volume, attachment: Attachment, told: Callable[[int, int], None]
    ) -> bool:
        """A running guest's disk lies on nothing: its QEMU has written into the volume what it showed from below, and `told` hears how far
        it is. Returns false, and has done nothing, when no running guest has the volume open. Raises StepFailed with QEMU's words."""
        ...

    async def describe(self, instance: str) -> tuple[str, str]:
        """A running guest as another machine's hypervisor must be told of it, and this machine's processor. Raises NotFound, Refused when
        it does not run."""
        ...

    async def migrate(self, instance: str, passage: Passage, wish: Wish, told: Told) -> Moved:
        """The guest runs on the other machine, and no more here. Raises StepFailed when it does not, and runs on here; cancelled, it
        comes to either end first: which, must be looked at."""
        ...

    async def admit(self, offer: Offer, attachments: dict[str, Attachment]) -> str:
        """Make ready for a guest that comes, and is defined here already: its description as this machine will have it. Raises Refused
        when its processor cannot go on here, NotFound."""
        ...

    async def connect(self, instance: str, kind: str) -> Pipe:
        """This machine's end of what comes of a guest. Raises Unavailable."""
        ...

    async def ensure_settled(self, instance: str) -> None:
        """A guest that came runs, or is not here: nothing of it is half-way, once nobody brings it any more."""
        ...

    async def domains(self) -> tuple[FoundDomain, ...]:
        """Every domain that Covey made here (others are not ours to see)."""
        ...

    async def domain(self, instance: str) -> FoundDomain | None:
        """One of them; None when it is not defined. Raises Refused for a domain of that UUID that Covey did not make."""
        ...

    async def drifts(self) -> dict[str, Drift]:
        """What a hand other than Covey's changed of its domains, by instance; those that are as Covey made them are left out. To
        define such a one again makes its definition whole."""
        ...

    async def usage(self) -> tuple[Usage, ...]: ...

    async def taps(self, bridge: str) -> tuple[str, ...]:
        """The interfaces of this machine behind which are NICs of running guests that belong on `bridge`."""
        ...

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed` (in the event loop), with the instance or "" for any, soon after a domain's state may have changed, and after a reconnection."""
        ...

    def console(self, instance: str) -> Path:
        """The unix socket of the serial console, served by one reader at a time."""
        ...

    def console_log(self, instance: str) -> Path:
        """The file that keeps what the console printed."""
        ...

    def ready_channel(self, instance: str) -> Path:
        """The unix socket behind the guest's virtio-serial port READY_CHANNEL."""
        ...

    async def close(self) -> None: ...
