"""Networks: a bridge on each node, a subnet, addresses for guests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """A network that guests are on. A record. Addresses are IPv4 text; `pool` is the first and last address given to guests."""

    id: str
    name: str
    bridge: str  # the interface's name on every node, at most 15 characters
    subnet: str  # 10.77.0.0/24
    gateway: str  # the bridge's own address
    pool: tuple[str, str]
    nat: bool
    dns: tuple[str, ...]
    created_at: float

    def __str__(self) -> str:
        return f"network {self.name}"


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A bridge made by Covey as a machine has it; `intact` when address, forwarding and NAT are as the record wants."""

    id: str
    bridge: str
    job: str
    intact: bool
    why: str = ""  # what differs
