"""Requests on networks."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_name
from covey.model.request import Request

_INTERFACE = re.compile(r"[a-z][a-z0-9._-]{0,14}", re.ASCII)


def parse_subnet(text: str, object: str) -> ipaddress.IPv4Network:
    """An IPv4 network of at least 4 addresses, not beyond /8. Raises BadInput."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadInput(f"{text[:60]!r} is not an IPv4 network", object, "write it like 10.77.0.0/24") from error
    check(8 <= subnet.prefixlen <= 30, BadInput("must be between /8 and /30", object))
    check(
        not (subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or subnet.is_reserved or subnet.is_unspecified),
        BadInput(f"{text} is not for guests", object),
    )
    return subnet


def parse_address(text: str, object: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError as error:
        raise BadInput(f"{text[:60]!r} is not an IPv4 address", object) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNetwork(Request, kind="network.add"):
    """A bridge that Covey makes. The gateway is the subnet's first address and guests get the rest, unless said otherwise."""

    name: str
    subnet: str
    gateway: str = ""
    pool_first: str = ""
    pool_last: str = ""
    nat: bool = True
    dns: tuple[str, ...] = ()
    bridge: str = ""  # "" for cv- and the name, or digits of its id when that is too long

    def check(self) -> None:
        check_name(self.name, "name")
        subnet = parse_subnet(self.subnet, "subnet")
        for field in ("gateway", "pool_first", "pool_last"):
            value = getattr(self, field)
            if value:
                address = parse_address(value, field)
                check(
                    address in subnet and address not in (subnet.network_address, subnet.broadcast_address),
                    BadInput(f"{value} is not a host address in {self.subnet}", field),
                )
        if self.pool_first and self.pool_last:
            check(
                parse_address(self.pool_first, "pool_first") <= parse_address(self.pool_last, "pool_last"),
                BadInput("the pool ends before it begins", "pool_last"),
            )
        check(len(self.dns) <= 8, BadInput("at most 8 name servers", "dns"))
        for server in self.dns:
            parse_address(server, "dns")
        check(
            not self.bridge or (_INTERFACE.fullmatch(self.bridge) and self.bridge not in ("lo", "all", "default")),
            BadInput(
                f"{self.bridge[:40]!r} cannot be an interface's name",
                "bridge",
                "at most 15 of a-z, 0-9, '.', '_' and '-'",
            ),
        )

    @property
    def title(self) -> str:
        return f"network add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork(Request, kind="network.remove"):
    network: str

    def check(self) -> None:
        check_name(self.network, "network")

    @property
    def title(self) -> str:
        return f"network remove {self.network}"
