"""Nodes: physical machines."""

from __future__ import annotations

from dataclasses import dataclass, field

from covey.model.machine import Capabilities
from covey.model.pool import Space


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster. A record. `address` (HOST:PORT) is where its agent listens for leaders; "" while only the leader's own
    machine is there. `storage_address` (an IP address) is its own on a second network, which carries what is copied between nodes. `state` is ready when it has all that the cluster's nodes have: one that joins, or was away and
    is behind, hosts nothing new."""

    id: str
    name: str
    created_at: float
    notes: str = ""
    address: str = ""
    state: str = "ready"  # joining | behind | ready
    storage_address: str = ""  # "" for none
    drained_at: float = 0.0  # since when it hosts nothing new because a person wants it so; 0 when it does
    drain_reason: str = ""

    def __str__(self) -> str:
        return f"node {self.name}"

    @property
    def is_hosting(self) -> bool:
        """Whether it may get instances."""
        return self.state == "ready" and not self.drained_at

    @property
    def storage_door(self) -> str:
        """Where its agent listens on the second network: at the port of its address. "" for nowhere."""
        return with_host(self.address, self.storage_address) if self.address and self.storage_address else ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its own IP addresses."""
        return tuple(split(door)[0] for door in self.doors) or ((self.storage_address,) if self.storage_address else ())

    @property
    def doors(self) -> tuple[str, ...]:
        """Where its agent listens."""
        return tuple(door for door in (self.address, self.storage_door) if door)

    def door_for(self, other: Node) -> str:
        """Where another node fetches volumes and images from this one's agent: over the second network when both are on it."""
        return self.storage_door if self.storage_door and _are_of_one_family(self, other) else self.address

    def host_for(self, other: Node) -> str:
        """The IP address by which another node reaches this one with volumes and memory: on the second network when both are on it."""
        return split(self.door_for(other))[0]


def _are_of_one_family(one: Node, other: Node) -> bool:
    return bool(other.storage_address) and (":" in one.storage_address) == (":" in other.storage_address)


def split(address: str) -> tuple[str, str]:
    """Host and port of HOST:PORT, without the brackets of IPv6."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def with_host(address: str, host: str) -> str:
    """HOST:PORT with another host."""
    return f"[{host}]:{split(address)[1]}" if ":" in host else f"{host}:{split(address)[1]}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a guest has moved since its process began: over its disks, and to (`received`) and from (`sent`) its NICs; bytes, and how
    often."""

    disk_read: int = 0
    disk_written: int = 0
    disk_reads: int = 0
    disk_writes: int = 0
    received: int = 0
    sent: int = 0


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True)
class InstanceUse:
    """What a running instance uses now: CPU in percent of one core, memory in bytes; and what it has used since its process began:
    CPU time in seconds, and its traffic."""

    cpu_percent: float
    memory: int
    cpu_s: float = 0.0
    traffic: Traffic = NO_TRAFFIC


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
    carries_store: bool = False  # it has a controller and etcd, and may have a part of the store that several share
    capabilities: Capabilities = field(default_factory=Capabilities)
    interfaces: tuple[str, ...] = ()  # of the machine's own, neither guests' nor Covey's; () when it does not say
    bridges: tuple[str, ...] = ()  # those of them that are bridges, and up
