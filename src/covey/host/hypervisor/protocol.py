"""What a hypervisor does for one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, FoundDomain


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running domain uses. `cpu_s` is total CPU time in seconds; memory in bytes."""

    instance: str
    cpu_s: float
    memory: int


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

    async def ensure_running(self, instance: str, generation: int) -> int:
        """The domain runs (its pid is returned); started as `generation` unless it runs already. A paused one is resumed.
        Raises NotFound when not defined, NoSpace when the host has no memory for it, StepFailed with QEMU's words."""
        ...

    async def ensure_generation(self, instance: str, generation: int, graceful_s: float) -> int:
        """The domain runs and its run was started as `generation` or later: an older run is ended first as by `ensure_stopped`."""
        ...

    async def ensure_stopped(self, instance: str, graceful_s: float) -> bool:
        """The domain does not run: asked over ACPI first and given `graceful_s` seconds (0: at once), then cut. Returns whether it
        had to be cut. Absent counts as stopped."""
        ...

    async def ensure_asked_to_stop(self, instance: str, graceful_s: float) -> bool:
        """The domain does not run, or was asked over ACPI and still ran `graceful_s` seconds later (it is not cut); returns whether it has
        stopped. What stops after that was stopped by order, until `ensure_running` finds it still running."""
        ...

    async def ensure_absent(self, instance: str, job: str = "") -> None:
        """Neither domain nor any of its files (sockets, NVRAM, console log) is left; it must not run. With `job`, only if it was
        defined by that job. Raises Refused while it runs."""
        ...

    async def ensure_attached(self, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
        """The disk is in the definition and, when the domain runs, in the guest."""
        ...

    async def ensure_detached(self, instance: str, disk: int, timeout_s: float) -> None:
        """The disk is neither in the definition nor in the guest. Raises Refused when the guest does not let it go."""
        ...

    async def ensure_guest_size(self, instance: str, disk: int, size: int) -> None:
        """A running guest's disk shows at least `size` bytes, growing the volume through QEMU; nothing to do when stopped."""
        ...

    async def domains(self) -> tuple[FoundDomain, ...]:
        """Every domain that Covey made here (others are not ours to see)."""
        ...

    async def domain(self, instance: str) -> FoundDomain | None:
        """One of them; None when it is not defined. Raises Refused for a domain of that UUID that Covey did not make."""
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
