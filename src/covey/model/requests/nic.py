"""Requests on NICs."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.filter import Rule
from covey.model.names import check_mac, check_name
from covey.model.request import Request
from covey.model.requests.firewall import check_firewalls, check_rules
from covey.model.requests.network import parse_address, parse_address6, parse_network

MOST_NICS = 8
MOST_ALSO = 32
LARGEST_LIMIT = 10**12  # bits a second


def check_index(index: int) -> None:
    check(0 <= index < MOST_NICS, BadInput(f"there is no NIC {index}", "nic", f"NICs are 0 to {MOST_NICS - 1}"))


def check_address(address: str, object: str) -> None:
    """Raises BadInput unless it is "auto", "none" or an address: IPv6 for `address6`, else IPv4."""
    if address not in ("auto", "none"):
        parse = parse_address6 if object.endswith("6") else parse_address
        parse(address, object)


def check_settings(
    also: tuple[str, ...], limit_in: int, limit_out: int, firewalls: tuple[str, ...], rules: tuple[Rule, ...]
) -> None:
    """What all requests that make or change a NIC say of it. Raises BadInput."""
    check(len(also) <= MOST_ALSO, BadInput(f"at most {MOST_ALSO} further addresses", "also"))
    for text in also:
        check(
            parse_network(text, "also").prefixlen,
            BadInput(f"{text} is everything", "also", "let it send as anybody: guarded false"),
        )
    for field, limit in (("limit_in", limit_in), ("limit_out", limit_out)):
        check(0 <= limit <= LARGEST_LIMIT, BadInput("is out of range", field, "0 for no limit, else at most 1T bits a second"))
    check_firewalls(firewalls)
    check_rules(rules, "rules")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNic(Request, kind="nic.add"):
    """One more NIC. `network` "" is the usual one; `address` (IPv4) and `address6` (IPv6) are "auto" (from the network's pool), "none", or
    one of the subnet; a NIC that is not `up` is as one without a cable. One that is not `guarded` may send as anybody; `also` are
    addresses and networks that are its own besides. Limits are bits a second, 0 for none.
    `firewalls` are names, beside those of the instance, and `rules` are of its own."""

    instance: str
    network: str = ""
    mac: str = ""
    address: str = "auto"
    address6: str = "auto"
    up: bool = True
    guarded: bool = True
    also: tuple[str, ...] = ()
    limit_in: int = 0
    limit_out: int = 0
    firewalls: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.network:
            check_name(self.network, "network")
        if self.mac:
            check_mac(self.mac, "mac")
        check_address(self.address, "address")
        check_address(self.address6, "address6")
        check_settings(self.also, self.limit_in, self.limit_out, self.firewalls, self.rules)

    @property
    def title(self) -> str:
        return f"nic add {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyNic(Request, kind="nic.modify"):
    """Change a NIC; None leaves a field as it is. On another network it gets another address, unless it has none or one is given."""

    instance: str
    nic: int
    network: str | None = None
    address: str | None = None
    address6: str | None = None
    up: bool | None = None
    guarded: bool | None = None
    also: tuple[str, ...] | None = None
    limit_in: int | None = None
    limit_out: int | None = None
    firewalls: tuple[str, ...] | None = None
    rules: tuple[Rule, ...] | None = None

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_index(self.nic)
        if self.network is not None:
            check_name(self.network, "network")
        for field in ("address", "address6"):
            if getattr(self, field) is not None:
                check_address(getattr(self, field), field)
        check_settings(self.also or (), self.limit_in or 0, self.limit_out or 0, self.firewalls or (), self.rules or ())

    @property
    def title(self) -> str:
        return f"nic modify {self.instance} {self.nic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNic(Request, kind="nic.remove"):
    instance: str
    nic: int

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_index(self.nic)

    @property
    def title(self) -> str:
        return f"nic remove {self.instance} {self.nic}"
