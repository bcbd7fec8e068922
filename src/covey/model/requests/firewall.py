"""Requests on firewalls."""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.filter import IN, OF_FIREWALL, OUT, Rule
from covey.model.names import check_name, check_text
from covey.model.request import Request
from covey.model.requests.network import parse_network

PROTOCOLS = ("any", "tcp", "udp", "icmp")
MOST_RULES = 200
MOST_FIREWALLS = 16
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


def check_rules(rules: tuple[Rule, ...], object: str) -> None:
    """Raises BadInput, naming the rule. A peer that is a firewall is named as people name it."""
    check(len(rules) <= MOST_RULES, BadInput(f"at most {MOST_RULES} rules", object))
    for number, rule in enumerate(rules):
        where = f"{object}.{number}"
        check(rule.direction in (IN, OUT), BadInput(f"{rule.direction[:40]!r} is no direction", where, "use in or out"))
        check(
            rule.protocol in PROTOCOLS,
            BadInput(f"{rule.protocol[:40]!r} is no protocol", where, f"use one of {', '.join(PROTOCOLS)}"),
        )
        if rule.ports:
            check(rule.protocol in ("tcp", "udp"), BadInput("only tcp and udp have ports", where, "leave them out"))
            _check_ports(rule.ports, where)
        if rule.peer.startswith(OF_FIREWALL):
            check_name(rule.peer.removeprefix(OF_FIREWALL), where)
        elif rule.peer:
            parse_network(rule.peer, where)


def _check_ports(ports: str, where: str) -> None:
    check(len(ports) <= 400, BadInput("too many ports", where, "write a second rule"))
    for part in ports.split(","):
        match = _PORT.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        check(
            1 <= first <= last <= 65535,
            BadInput(f"{part[:40]!r} is neither a port nor a range of them", where, "write them like 80,443,8000-8100"),
        )


def check_firewalls(names: tuple[str, ...]) -> None:
    check(len(names) <= MOST_FIREWALLS, BadInput(f"at most {MOST_FIREWALLS} firewalls", "firewalls"))
    for name in names:
        check_name(name, "firewalls")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFirewall(Request, kind="firewall.add"):
    """Rules to have in common. What has a firewall lets in only what one of its rules allows; and if any rule is for the way out, out,
    too. A rule's peer is an address, a network, firewall:NAME for all NICs that have that one, or "" for anybody."""

    name: str
    rules: tuple[Rule, ...] = ()
    notes: str = ""

    def check(self) -> None:
        check_name(self.name, "name")
        check_rules(self.rules, "rules")
        check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"firewall add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyFirewall(Request, kind="firewall.modify"):
    """Other rules or notes; None leaves them as they are. All NICs that have it are under them at once."""

    firewall: str
    rules: tuple[Rule, ...] | None = None
    notes: str | None = None

    def check(self) -> None:
        check_name(self.firewall, "firewall")
        check_rules(self.rules or (), "rules")
        if self.notes is not None:
            check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"firewall modify {self.firewall}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFirewall(Request, kind="firewall.remove"):
    firewall: str

    def check(self) -> None:
        check_name(self.firewall, "firewall")

    @property
    def title(self) -> str:
        return f"firewall remove {self.firewall}"
