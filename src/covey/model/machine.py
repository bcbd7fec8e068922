"""What a machine says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """What stays the same until the next boot."""

    cpus: int  # processors that are online
    memory: int  # bytes that the kernel has
    boot_id: str  # UUID of this boot: another one proves everything of the former boot dead (S10)
    hostname: str
    kernel: str  # its release, such as 6.1.0-50-amd64
    cpu_model: str  # "" where the processor does not say
    resolvers: tuple[str, ...] = ()  # name servers that others than this machine itself can ask, too


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a machine is. Telemetry: no safety decision reads it."""

    memory_free: int  # bytes that new programs can have without swapping (MemAvailable)
    load1: float  # mean number of runnable or blocked threads in the last minute
    cpu_percent: float  # of all processors together, 0 to 100, since the reading before (the first time: since boot)
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What guests can have on a machine: CPU models by accelerator, and firmwares."""

    cpu_models: dict[str, tuple[str, ...]] = field(default_factory=dict)
    firmwares: tuple[str, ...] = ("bios",)
