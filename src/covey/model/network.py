"""Networks: a bridge on each node, a subnet of either or both families, addresses for guests."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NO_POOL = ("", "")


@dataclass(frozen=True, slots=True)
class Family:
    """What a network has of one family of addresses. `gateway` is "" where there is none; `pool` is the first and last address given to
    guests, NO_POOL when none is given out."""

    subnet: Subnet
    gateway: str
    pool: tuple[str, str]

    @property
    def version(self) -> int:
        return self.subnet.version

    def has_host(self, address: Address) -> bool:
        """Whether a host of the subnet can have this address."""
        return address in self.subnet and not is_special(self.subnet, address)


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the nodes that leads to an instance on a network with NAT. A record; its name is protocol and port: tcp-8080."""

    id: str
    name: str
    network: str  # id
    instance: str  # id
    protocol: str  # tcp | udp
    port: int
    to_port: int
    sources: tuple[str, ...]  # subnets that may use it; () is everybody
    created_at: float

    def __str__(self) -> str:
        return f"forward {self.name}"


@dataclass(frozen=True, slots=True)
class Entrance:
    """A forward as a node is told of it: the guest by its addresses, "" for none."""

    protocol: str
    port: int
    address: str
    address6: str
    to_port: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """Where one node has a network otherwise than the network's record says for all: `interface` is the bridge that is adopted there, or
    the uplink of a routed network; "" where the node does not have the network at all."""

    node: str  # id
    interface: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network that guests are on. A record. The IPv4 fields are "" for an IPv6-only network, those that end with 6 for an IPv4-only one;
    `pool` is the first and last address given to guests.

    An adopted network is a bridge of the machine's owner: Covey puts guests on it and changes nothing of it; gateway and pool are what
    the site has. An isolated one has no way out. With an `uplink`, the node answers there for its guests' addresses.

    One object for all nodes, with its `links` where nodes differ. An adopted network whose `bridge` is "" is on those nodes only that have a link.

    `entrances` and `routes` are no part of the record: they follow from the records of forwards and instances, and are filled in when
    a node is told of the network (see planner/network/laying.py)."""

    id: str
    name: str
    bridge: str  # the interface's name on every node without a link of its own, at most 15 characters
    subnet: str  # 10.77.0.0/24
    gateway: str  # the bridge's own address; "" for none
    pool: tuple[str, str]
    nat: bool  # IPv4 of guests is hidden behind their node, and nobody outside begins to talk to a guest
    dns: tuple[str, ...]
    created_at: float
    subnet6: str = ""  # fd00:77::/64
    gateway6: str = ""
    pool6: tuple[str, str] = NO_POOL
    nat6: bool = False  # so is IPv6 (NAT66)
    adopted: bool = False
    isolated: bool = False
    uplink: str = ""  # the interface on which the node answers for guests (proxy ARP and NDP)
    reserved: tuple[str, ...] = ()  # addresses and ranges (10.77.0.5-10.77.0.9) of the pools that are given out by hand only
    host_ports: tuple[str, ...] = ()  # ports of the node that guests reach: tcp/22, udp/5000-5010
    notes: str = ""
    entrances: tuple[Entrance, ...] = ()
    routes: tuple[str, ...] = ()  # guests' addresses that the node leads to the bridge one by one
    links: tuple[Link, ...] = ()  # in the order of the nodes' ids

    def __str__(self) -> str:
        return f"network {self.name}"

    @property
    def families(self) -> tuple[Family, ...]:
        """IPv4, then IPv6, as far as the network has them."""
        sides = ((self.subnet, self.gateway, self.pool), (self.subnet6, self.gateway6, self.pool6))
        return tuple(Family(ipaddress.ip_network(subnet), gateway, pool) for subnet, gateway, pool in sides if subnet)

    @property
    def type(self) -> str:
        """adopted, isolated, nat or routed."""
        if self.adopted or self.isolated:
            return "adopted" if self.adopted else "isolated"
        return "nat" if self.nat or self.nat6 else "routed"

    @property
    def is_per_guest(self) -> bool:
        """Whether the node has a route for each guest in place of one for the subnet: the subnet is not the bridge's alone, or the gateway
        is none of it."""
        outside = any(f.gateway and ipaddress.ip_address(f.gateway) not in f.subnet for f in self.families)
        return self.type == "routed" and (bool(self.uplink) or outside)

    def on(self, node: str) -> Network | None:
        """The network as the node with this id has it, None where it does not."""
        link = next((link for link in self.links if link.node == node), None)
        if link is None:
            return self if self.bridge else None
        if not link.interface:
            return None
        return replace(self, bridge=link.interface) if self.adopted else replace(self, uplink=link.interface)

    def family(self, version: int) -> Family | None:
        return next((family for family in self.families if family.version == version), None)


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A bridge made by Covey, or adopted, as a machine has it; `intact` when address, forwarding, rules and routes are as the record
    wants."""

    id: str
    bridge: str
    job: str
    intact: bool
    why: str = ""  # what differs


@dataclass(frozen=True, slots=True)
class Interfaces:
    """What a machine has of its own, neither guests' nor Covey's: names of interfaces, and of those that are bridges and up."""

    names: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A NIC of a guest that began to run on a machine: the interface behind it, its MAC, and the addresses that are known to be its."""

    tap: str
    mac: str
    addresses: tuple[str, ...]


def is_special(subnet: Subnet, address: Address) -> bool:
    """Whether an address of the subnet is no host's: the network's own, and IPv4's broadcast (IPv6 has none; its first is that of any
    router)."""
    return address == subnet.network_address or (subnet.version == 4 and address == subnet.broadcast_address)


def is_nobodys(address: Address) -> bool:
    """Whether it can be no single machine's address: those of "this network" (RFC 1122), of groups, and what comes after them."""
    return address in _THIS_NETWORK or address in _FUTURE or address.is_unspecified or address.is_multicast


_THIS_NETWORK, _FUTURE = ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("240.0.0.0/4")
