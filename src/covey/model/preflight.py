"""What a look at a machine found: each thing is well, or says why not and what to do."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True, slots=True)
class Finding:
    severity: str  # ok | warning | error
    object: str  # what was looked at: "memory", "nic eth0"
    what: str
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A network interface that guests or the machine could use."""

    name: str
    kind: str  # "" for a real card; bridge, bond, vlan, veth ...
    mac: str
    mtu: int
    is_up: bool
    carrier: bool
    speed: int  # Mbit/s; 0 when the driver does not tell
    master: str  # the bridge or bond that it is a port of
    addresses: tuple[str, ...]  # with prefix, without link-local ones
    gateways: tuple[str, ...]  # of default routes by it


@dataclass(frozen=True, slots=True)
class Heard:
    """Who is on the link of a card, as heard within some seconds and remembered by the kernel."""

    neighbours: tuple[str, ...] = ()  # addresses, IPv4 first
    switches: tuple[str, ...] = ()  # "sw1 port 12", as LLDP says
    answering: tuple[str, ...] = ()  # of the gateways


@dataclass(frozen=True, slots=True)
class Disk:
    path: str
    size: int
    model: str
    is_free: bool  # nothing on it: no signature, no partition, not mounted, no part of anything
