"""The cluster itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an instance gets when nobody says otherwise. Sizes in bytes, durations in seconds."""

    cpus: int = 1
    memory: int = 2**30
    machine: str = "pc-q35-7.2"
    stop_graceful_s: float = 120.0
    ready_timeout_s: float = 600.0
    crash_restarts: int = 5  # within `crash_window_s`; then the healer gives up
    crash_window_s: float = 3600.0
    keep_removed_s: float = 7 * 86400.0  # what was removed is kept; 0: it is gone at once


@dataclass(frozen=True, slots=True)
class Cluster:
    """The one record of the cluster; its id is "cluster"."""

    name: str
    uuid: str
    accelerator: str  # kvm | tcg, as proven
    accelerator_why: str
    mac_prefix: str  # three bytes: 02:c0:7e
    created_at: float
    defaults: Defaults = field(default_factory=Defaults)
    notes: str = ""
    id: str = "cluster"

    def __str__(self) -> str:
        return f"cluster {self.name}"
