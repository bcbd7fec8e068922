"""What NICs may send and receive: rules, and the filter that follows from the records, everything resolved."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from covey.model import codec

IN, OUT = "in", "out"
OF_FIREWALL = "firewall:"  # a rule's peer: the NICs that have this firewall


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that is allowed. `direction` is seen from the guest; `protocol` is any, tcp, udp or icmp (of either family); `ports` are
    the ports on the side that is asked ("80,443,8000-8100"), "" for all; `peer` is the other side: an address, a network, firewall:ID,
    or "" for anybody."""

    direction: str  # in | out
    protocol: str = "any"
    ports: str = ""
    peer: str = ""

    def __str__(self) -> str:
        words = (self.direction, self.protocol, self.ports)
        side = "from" if self.direction == IN else "to"
        return " ".join((*(word for word in words if word), side, self.peer or "any"))


@dataclass(frozen=True, slots=True)
class Filter:
    """What the NIC `index` of an instance may send and receive.

    A `guarded` one sends with its own MAC address only, and is no router and no DHCP server. Of a family of which it has `addresses`
    (hosts or networks) it uses no others; of a family of which it has none it uses any but the `gateways` of its network.
    `limit_in` and `limit_out` are bits a second, 0 for no limit. With any firewall or rule only what these allow comes in; with a rule
    for the way out, only what is allowed goes out."""

    index: int
    mac: str
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    guarded: bool = True
    limit_in: int = 0
    limit_out: int = 0
    firewalls: tuple[str, ...] = ()  # ids
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundFilters:
    """What a machine keeps of filters: digests by instance and by firewall. `why` says in what its packet rules differ from them."""

    instances: dict[str, str] = field(default_factory=dict)
    firewalls: dict[str, str] = field(default_factory=dict)
    why: str = ""


def digest_of_filters(filters: tuple[Filter, ...]) -> str:
    """Equal digests mean equal filters."""
    return _digest([codec.encode(one) for one in filters])


def digest_of_rules(rules: tuple[Rule, ...]) -> str:
    return _digest([codec.encode(rule) for rule in rules])


def _digest(values: list[object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
