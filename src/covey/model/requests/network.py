"""Requests on networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_name, check_text
from covey.model.network import Address, Subnet, is_nobodys, is_special
from covey.model.request import Request

KINDS = ("nat", "routed", "isolated", "adopted")
MOST_RESERVED = 1000
MOST_PORTS = 100
_PORT = re.compile(r"(tcp|udp)/([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?", re.ASCII)  # each port has one spelling
_INTERFACE = re.compile(r"[a-z][a-z0-9._-]{0,14}", re.ASCII)


def parse_subnet(text: str, object: str) -> ipaddress.IPv4Network:
    """An IPv4 network of at least 4 addresses, not beyond /8. Raises BadInput."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadInput(
            f"{text[:60]!r} is not an IPv4 network", object, f"write it like {_meant(text, '10.77.0.0/24')}"
        ) from error
    check(8 <= subnet.prefixlen <= 30, BadInput("must be between /8 and /30", object))
    _check_for_guests(subnet, object)
    return subnet


def parse_subnet6(text: str, object: str) -> ipaddress.IPv6Network:
    """An IPv6 network of at least 4 addresses, not beyond /16. Raises BadInput."""
    try:
        subnet = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise BadInput(
            f"{text[:60]!r} is not an IPv6 network", object, f"write it like {_meant(text, 'fd00:77::/64')}"
        ) from error
    check("%" not in text, BadInput(f"{text[:60]!r} names a zone", object, "leave it out"))
    check(16 <= subnet.prefixlen <= 126, BadInput("must be between /16 and /126", object))
    _check_for_guests(subnet, object)
    return subnet


def _meant(text: str, example: str) -> str:
    """The network that an address with its bits is in, if it is of the example's family: 10.77.5.3/24 is often given in its place."""
    try:
        meant = ipaddress.ip_interface(text).network if "/" in text else None
    except ValueError:
        meant = None
    return str(meant) if meant and meant.version == ipaddress.ip_network(example).version else example


def _check_for_guests(subnet: Subnet, object: str) -> None:
    check(
        not (subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or subnet.is_reserved or is_nobodys(subnet[0])),
        BadInput(f"{subnet} is not for guests", object),
    )


def parse_address(text: str, object: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError as error:
        raise BadInput(f"{text[:60]!r} is not an IPv4 address", object) from error


def parse_address6(text: str, object: str) -> ipaddress.IPv6Address:
    """Without a zone. Raises BadInput."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise BadInput(f"{text[:60]!r} is not an IPv6 address", object) from error
    check(address.scope_id is None, BadInput(f"{text[:60]!r} names a zone", object, f"write {text.partition('%')[0]}"))
    return address


def parse_any_address(text: str, object: str) -> Address:
    """Of either family. Raises BadInput."""
    return parse_address6(text, object) if ":" in text else parse_address(text, object)


def parse_network(text: str, object: str) -> Subnet:
    """An address or a network of either family, without host bits. Raises BadInput."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise BadInput(
            f"{text[:60]!r} is neither an address nor a network", object, "write it like 10.77.0.9, 10.9.0.0/16 or fd00::/64"
        ) from error
    check("%" not in text, BadInput(f"{text[:60]!r} names a zone", object, "leave it out"))
    return network


def parse_range(text: str, object: str) -> tuple[Address, Address]:
    """The first and the last of an address or of a range such as 10.77.0.5-10.77.0.9. Raises BadInput."""
    first_text, dash, last_text = text.partition("-")
    first = parse_any_address(first_text.strip(), object)
    last = parse_any_address(last_text.strip(), object) if dash else first
    check(
        first.version == last.version and int(first) <= int(last),
        BadInput(f"{text[:80]!r} is no range", object, "write it like 10.77.0.5-10.77.0.9"),
    )
    return first, last


def render_range(ends: tuple[Address, Address]) -> str:
    """A range in its one spelling."""
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def parse_port(text: str, object: str) -> tuple[str, int, int]:
    """Protocol, first and last of a port such as tcp/22, or of ports such as udp/5000-5010. Raises BadInput."""
    match = _PORT.fullmatch(text)
    first, last = (int(match[2]), int(match[3] or match[2])) if match else (0, 0)
    check(
        match and first <= last < 65536 and (first < last or not match[3]),
        BadInput(f"{text[:60]!r} is no port", object, "write it like tcp/22, udp/53 or tcp/8000-8010"),
    )
    return text[:3], first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWish:
    """To what a node is to link a network: a bridge of its own to adopt, or the uplink of a routed network; "none" to leave the network away
    there, "usual" for what holds for nodes without a wish."""

    node: str
    interface: str


def check_links(links: tuple[LinkWish, ...]) -> None:
    for link in links:
        check_name(link.node, "links")
        check(link.interface, BadInput(f"which interface of {link.node}?", "links", "its name, none or usual"))
        check_interface(link.interface, "links")
    nodes = [link.node for link in links]
    check(len(set(nodes)) == len(nodes), BadInput("a node has one link to a network", "links", "name each node once"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNetwork(Request, kind="network.add"):
    """A bridge with an IPv4 subnet, an IPv6 subnet, or both. `kind` is nat (guests are hidden behind their node), routed, isolated (no way
    out) or adopted (a bridge that is there already, `bridge`, which Covey never changes); "" is nat, or routed when nothing is hidden.

    The gateway is the subnet's first address and guests get the rest, unless said otherwise. An isolated network has a gateway, and with it
    an address of the node, only when one is given. Of an adopted network guests get addresses only when a pool is given, else they ask
    the site. `uplink` is the interface on which the nodes answer for guests of a routed network whose addresses belong to the site's own
    subnet. `host_ports` are ports of the node that guests reach, such as tcp/22."""

    name: str
    subnet: str = ""  # IPv4
    gateway: str = ""
    pool_first: str = ""
    pool_last: str = ""
    nat: bool = True
    subnet6: str = ""  # IPv6
    gateway6: str = ""
    pool6_first: str = ""
    pool6_last: str = ""
    nat6: bool = False
    dns: tuple[str, ...] = ()
    bridge: str = ""  # "" for cv- and the name, or digits of its id when that is too long
    type: str = ""
    uplink: str = ""
    reserved: tuple[str, ...] = ()  # addresses and ranges that are given out by hand only
    host_ports: tuple[str, ...] = ()
    notes: str = ""
    links: tuple[LinkWish, ...] = ()  # where nodes differ

    def check(self) -> None:
        check_name(self.name, "name")
        self._check_kind()
        check_links(self.links)
        outside = self.type == "routed" or not (self.nat or self.nat6)
        subnet = parse_subnet(self.subnet, "subnet") if self.subnet else None
        subnet6 = parse_subnet6(self.subnet6, "subnet6") if self.subnet6 else None
        _check_family(subnet, self._places(""), parse_address, outside)
        _check_family(subnet6, self._places("6"), parse_address6, outside)
        check_dns(self.dns)
        for range in self.reserved:
            parse_range(range, "reserved")
        check(len(self.reserved) <= MOST_RESERVED, BadInput(f"at most {MOST_RESERVED} reservations", "reserved"))
        check_ports(self.host_ports, "host_ports")
        check_text(self.notes, "notes")
        for field in ("bridge", "uplink"):
            check_interface(getattr(self, field), field)

    def _check_kind(self) -> None:
        kind = self.type
        check(not kind or kind in KINDS, BadInput(f"{kind[:40]!r} is no kind of network", "type", f"use {', '.join(KINDS)}"))
        check(
            self.subnet or self.subnet6 or kind in ("isolated", "adopted"),
            BadInput("a network needs a subnet", "subnet", "give an IPv4 one (10.77.0.0/24), an IPv6 one as subnet6, or both"),
        )
        check(not self.nat6 or self.subnet6, BadInput("there is no IPv6 to hide", "nat6", "give subnet6, too"))
        check(
            not self.nat6 or kind in ("", "nat"),
            BadInput(f"nothing is hidden in a network of type {kind}", "nat6", "leave one of the two out"),
        )
        check(
            kind != "nat" or (self.subnet and self.nat) or self.nat6,
            BadInput("nothing would be hidden", "type", "give an IPv4 subnet or nat6, or make it routed"),
        )
        check(
            kind != "adopted" or self.bridge or self.links,
            BadInput("which bridge?", "bridge", "name the one that is there, such as br0, or each node's as links"),
        )
        check(
            kind != "adopted" or not self.host_ports,
            BadInput("Covey has no rules on a bridge that is not its own", "host_ports", "open it in the machine's own rules"),
        )
        check(
            not self.uplink or kind == "routed",
            BadInput("only a routed network has an uplink", "uplink", "say type routed"),
        )
        ends = {"pool_first": self.subnet, "pool_last": self.subnet, "pool6_first": self.subnet6, "pool6_last": self.subnet6}
        missing = next((end for end, subnet in ends.items() if subnet and not getattr(self, end)), "")
        check(
            not (self.uplink and missing),
            BadInput("others live in an uplink's subnet: which addresses are for guests?", missing, "give both ends of the pool"),
        )

    def _places(self, suffix: str) -> dict[str, str]:
        """Gateway and ends of the pool of one family, by the fields' names."""
        names = (f"gateway{suffix}", f"pool{suffix}_first", f"pool{suffix}_last")
        return {name: getattr(self, name) for name in names}

    @property
    def title(self) -> str:
        return f"network add {self.name}"


def check_dns(servers: tuple[str, ...]) -> None:
    check(len(servers) <= 8, BadInput("at most 8 name servers", "dns"))
    for server in servers:
        address = parse_any_address(server, "dns")
        check(not is_nobodys(address), BadInput(f"{address} is no name server's address", "dns"))


def check_ports(ports: tuple[str, ...], field: str) -> None:
    check(len(ports) <= MOST_PORTS, BadInput(f"at most {MOST_PORTS} ports", field))
    for port in ports:
        parse_port(port, field)


def check_interface(name: str, field: str) -> None:
    """Raises BadInput unless it is "" or may be an interface's name."""
    check(
        not name or (_INTERFACE.fullmatch(name) and name not in ("lo", "all", "default")),
        BadInput(f"{name[:40]!r} cannot be an interface's name", field, "at most 15 of a-z, 0-9, '.', '_' and '-'"),
    )


def _check_family(
    within: Subnet | None, places: dict[str, str], parse: Callable[[str, str], Address], gateway_outside: bool
) -> None:
    """Raises BadInput unless gateway and pool are hosts of the subnet, and the pool has a beginning before its end."""
    given = {field: parse(text, field) for field, text in places.items() if text}
    gateway, first, last = places
    for field, address in given.items():
        if within is None:
            raise BadInput("there is no subnet that it could be in", field, "give the subnet, too")
        can_be_one = not (is_nobodys(address) or address.is_loopback)
        elsewhere = gateway_outside and field == gateway and address not in within and can_be_one
        check(
            elsewhere or (address in within and not is_special(within, address)),
            BadInput(f"{address} is not a host address in {within}", field),
        )
    if first in given and last in given:
        check(int(given[first]) <= int(given[last]), BadInput("the pool ends before it begins", last))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyNetwork(Request, kind="network.modify"):
    """Change what may change while guests are on it; None leaves a field as it is. The pool is what guests get from now on: those that have
    an address keep it. `reserve` and `release` add and remove reservations, `allow_host` and `deny_host` ports of the node that guests reach; `dns` is what it
    shall be. `links` say where nodes that are named differ from now on."""

    network: str
    dns: tuple[str, ...] | None = None
    pool_first: str | None = None
    pool_last: str | None = None
    pool6_first: str | None = None
    pool6_last: str | None = None
    reserve: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    allow_host: tuple[str, ...] = ()
    deny_host: tuple[str, ...] = ()
    notes: str | None = None
    links: tuple[LinkWish, ...] = ()

    def check(self) -> None:
        check_name(self.network, "network")
        check_dns(self.dns or ())
        for field, parse in (("pool", parse_address), ("pool6", parse_address6)):
            for end in (f"{field}_first", f"{field}_last"):
                value = getattr(self, end)
                if value is not None:
                    parse(value, end)
        for field in ("reserve", "release"):
            ranges = getattr(self, field)
            check(len(ranges) <= MOST_RESERVED, BadInput(f"at most {MOST_RESERVED} at once", field))
            for range in ranges:
                parse_range(range, field)
        check_ports(self.allow_host, "allow_host")
        check_ports(self.deny_host, "deny_host")
        check_links(self.links)
        check_text(self.notes or "", "notes")

    @property
    def title(self) -> str:
        return f"network modify {self.network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork(Request, kind="network.remove"):
    network: str

    def check(self) -> None:
        check_name(self.network, "network")

    @property
    def title(self) -> str:
        return f"network remove {self.network}"
