"""The choice of addresses for a NIC."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterator

from covey.base.errors import BadInput, NoSpace, Refused, check, require
from covey.model.instance import Instance
from covey.model.network import Family, Network
from covey.model.node import Node
from covey.model.requests.network import parse_range
from covey.model.view import ClusterView


def choose_address(view: ClusterView, network: Network, version: int, wish: str, taken: Collection[str], label: str) -> str:
    """An address of that family for a guest; "" for none. `wish` is "auto" (the first free one of the pool that is not reserved; none when
    the network has no pool of the family), "none", or an address; `taken` are those given out beside what the view knows. Raises BadInput for an address that is
    not for guests of the network, Refused for one that is taken, NoSpace when the pool is empty."""
    family = network.family(version)
    if wish == "none" or (wish == "auto" and (family is None or not any(family.pool))):
        return ""
    used = view.addresses.get(network.id, ())
    machines = addresses_of_nodes(view)
    if wish == "auto" and family is not None:
        others = {*machines, *network.dns, *taken}
        return _first_free(network, family, lambda text: text in used or text in others, label)
    family = require(family, BadInput(f"{network} has no IPv{version}, so {wish} cannot be in it", label))
    address = ipaddress.ip_address(wish)
    text = str(address)  # in its one spelling
    check(
        family.has_host(address) and text != family.gateway,
        BadInput(
            f"{text} is not an address for guests of {network} ({family.subnet})",
            label,
            f"see: covey network info {network.name}",
        ),
    )
    check(text not in machines, Refused(f"the address {text} is that of node {machines.get(text)}", label, "give another one"))
    check(text not in taken, Refused(f"the address {text} is asked for twice", label, "give each NIC its own, or address=auto"))
    check(
        text not in used,
        Refused(f"the address {text} is taken{_by(view, network, text)}", label, "give another one, or address=auto"),
    )
    return text


def addresses_of(instance: Instance) -> set[str]:
    """The objects that stand for its addresses in what plans use: nobody is given what a running plan may still give back."""
    return {address_object(nic.network, address) for nic in instance.nics for address in nic.addresses}


def address_object(network: str, address: str) -> str:
    return f"address/{network}/{address}"


def addresses_of_nodes(view: ClusterView) -> dict[str, str]:
    """The nodes' own addresses, each in its one spelling, with the name of its node."""
    return {spelled(host): node.name for node in view.all("node", Node) for host in node.hosts}


def spelled(host: str) -> str:
    """An IP address in its one spelling."""
    return str(ipaddress.ip_address(host))


def _by(view: ClusterView, network: Network, text: str) -> str:
    """Who has an address, for a sentence; "" when it is no instance's own."""
    holders = (
        instance.name
        for instance in view.instances
        if any(nic.network == network.id and text in (nic.address, nic.address6) for nic in instance.nics)
    )
    name = next(holders, "")
    return f" by {name}" if name else ""


def _first_free(network: Network, family: Family, is_taken: Callable[[str], bool], label: str) -> str:
    spell = _spell4 if family.version == 4 else _spell6
    for first, last in _gaps(network, family):
        for number in range(first, last + 1):
            text = spell(number)
            if text != family.gateway and not is_taken(text):
                return text
    raise NoSpace(
        f"{network} has no free address in {family.pool[0]} to {family.pool[1]}",
        label,
        "remove an instance, or use another network",
    )


def _gaps(network: Network, family: Family) -> Iterator[tuple[int, int]]:
    """What reservations leave of the pool, in order."""
    first, last = (int(ipaddress.ip_address(end)) for end in family.pool)
    ranges = (parse_range(text, "reserved") for text in network.reserved)
    for low, high in sorted((int(low), int(high)) for low, high in ranges if low.version == family.version):
        if first < low:
            yield first, min(low - 1, last)
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def _spell4(number: int) -> str:
    """As str(IPv4Address(number)), in a tenth of the time: thousands are looked at."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _spell6(number: int) -> str:
    return str(ipaddress.IPv6Address(number))
