"""Nodes: physical machines."""

from __future__ import annotations

from dataclasses import dataclass, field

from covey.model.pool import Space


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster. A record."""

    id: str
    name: str
    created_at: float
    notes: str = ""

    def __str__(self) -> str:
        return f"node {self.name}"


@dataclass(frozen=True, slots=True)
class InstanceUse:
    """What a running instance uses now: CPU in percent of one core, memory in bytes."""

    cpu_percent: float
    memory: int


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a node last said of itself. Memory only: lost and refilled with the leader (DESIGN section 3).

    `kinds` are the step kinds that its agent knows (P14). `pools` is room by pool id."""

    as_of: float
    hostname: str = ""
    boot_id: str = ""
    kernel: str = ""
    hypervisor: str = ""
    cpus: int = 0
    memory: int = 0
    memory_free: int = 0
    load1: float = 0.0
    cpu_percent: float = 0.0
    uptime_s: float = 0.0
    resolvers: tuple[str, ...] = ()  # name servers, not of the loopback
    kinds: tuple[str, ...] = ()
    pools: dict[str, Space] = field(default_factory=dict)
    instances: dict[str, InstanceUse] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # sentences: "libvirt does not answer since ..."
    pool_path: str = ""  # where it would keep the first pool
