"""What a filter must be before a machine is asked for it: what passes here is safe in a packet rule and in a path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from covey.base.errors import BadInput, check
from covey.model.filter import IN, OF_FIREWALL, OUT, Filter, Rule
from covey.model.names import check_mac, check_uuid
from covey.model.requests.nic import MOST_NICS

_PORTS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", re.ASCII)
LARGEST_LIMIT = 10**12  # bits a second


def check_filters(instance: str, filters: Sequence[Filter]) -> None:
    """Raises BadInput."""
    object = f"instance {instance}"
    check(check_uuid(instance, "instance") == instance, BadInput("its UUID is not in lower case", object))
    indexes = [one.index for one in filters]
    check(len(set(indexes)) == len(indexes), BadInput("two filters for one NIC", object))
    for one in filters:
        check(0 <= one.index < MOST_NICS, BadInput(f"there is no NIC {one.index}", object))
        check(check_mac(one.mac, object) == one.mac, BadInput(f"{one.mac} is not in lower case", object))
        for text in (*one.addresses, *one.gateways):
            check(_check_network(text, object), BadInput(f"{text} is everything", object, "make it unguarded instead"))
        check(min(one.limit_in, one.limit_out) >= 0, BadInput("a limit below nothing", object))
        check(max(one.limit_in, one.limit_out) <= LARGEST_LIMIT, BadInput("a limit beyond all NICs", object))
        for id in one.firewalls:
            check_uuid(id, object)
        check_rules(one.rules, object)


def check_rules(rules: Sequence[Rule], object: str) -> None:
    """Raises BadInput."""
    for rule in rules:
        check(rule.direction in (IN, OUT), BadInput(f"{rule.direction[:40]!r} is no direction", object, "use in or out"))
        check(rule.protocol in ("any", "tcp", "udp", "icmp"), BadInput(f"{rule.protocol[:40]!r} is no protocol", object))
        check(not rule.ports or _PORTS.fullmatch(rule.ports), BadInput(f"{rule.ports[:40]!r} are no ports", object))
        if rule.peer.startswith(OF_FIREWALL):
            check_uuid(rule.peer.removeprefix(OF_FIREWALL), object)
        elif rule.peer:
            _check_network(rule.peer, object)


def _check_network(text: str, object: str) -> int:
    """The length of its prefix. Raises BadInput."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is neither an address nor a network", object) from error
    check("%" not in str(network), BadInput(f"{text[:80]!r} names a zone", object))
    return network.prefixlen
