"""network modify."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from covey.base.errors import BadInput, Refused, check, require
from covey.model.network import Address, Network
from covey.model.plan import Plan, Uses, nothing, put
from covey.model.requests.network import ModifyNetwork, parse_range, render_range
from covey.model.view import ClusterView
from covey.planner.network.laying import changed, laying_anew, unlinked
from covey.planner.network.linking import (
    bridges_of,
    check_nobody_moves,
    check_there,
    leaving,
    links_of,
    names_interfaces,
    share_a_bridge,
)
from covey.planner.registry import plans
from covey.planner.wording import named


@plans(ModifyNetwork)
def modify(view: ClusterView, request: ModifyNetwork) -> Plan:
    """Change what is told to guests from now on, and the ports of the node that they reach. Raises BadInput for a pool outside of the
    subnet, Refused for a reservation of what an instance has, and for one to be released that there is not."""
    network = view.network(request.network)
    after = replace(
        network,
        dns=network.dns if request.dns is None else spelled(request.dns),
        pool=_pool(network, 4, request.pool_first, request.pool_last),
        pool6=_pool(network, 6, request.pool6_first, request.pool6_last),
        reserved=_reserved(view, network, request),
        host_ports=_host_ports(network, request),
        notes=network.notes if request.notes is None else request.notes,
        links=links_of(view, network.links, request.links, network.name, names_interfaces(network)),
    )
    check(
        not (network.adopted and after.host_ports),
        BadInput("Covey has no rules on a bridge that is not its own", network, "open it in the machine's own rules"),
    )
    if after == network:
        return nothing(f"{network} is so already")
    if after.links != network.links:
        _check_links(view, network, after, request)
    steps = (*laying_anew(view, changed(view, after), network.id), *leaving(view, network, after))
    reasons = ["instances made or reinstalled from now on are told the name servers"] if after.dns != network.dns else []
    if (after.pool, after.pool6) != (network.pool, network.pool6):
        reasons.append("guests that have an address keep it")
    fields = [
        name
        for name in ("dns", "pool", "pool6", "reserved", "host_ports", "notes", "links")
        if getattr(after, name) != getattr(network, name)
    ]
    return Plan(
        f"change {named(fields)} of {network}",
        steps,
        Uses((f"network/{network.id}", *(bridges_of(after) if after.links != network.links else ()))),
        reasons=tuple(reasons),
        warnings=unlinked(view, after) if after.links != network.links else (),
        success=(put(after),),
        repair=" ".join(
            (f"covey network modify {network.name}", *(f"--link {one.node}={one.interface}" for one in request.links))
        ),
    )


def _check_links(view: ClusterView, before: Network, after: Network, request: ModifyNetwork) -> None:
    """Raises Refused when a node has no such interface, when guests would lose the network, and for a bridge of another one's."""
    check_there(view, after, request.links)
    check_nobody_moves(view, before, after)
    for other in view.all("network", Network):
        shared = share_a_bridge(view, after, other) if other.id != after.id else ""
        check(not shared, Refused(f"the bridge {shared} belongs to {other}", after, "link it to another one"))


def spelled(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses in their one spelling, each once."""
    return tuple(dict.fromkeys(str(ipaddress.ip_address(address)) for address in addresses))


def check_reservations(view: ClusterView, network: Network, ranges: Iterable[str]) -> None:
    """Raises BadInput for what is not in the network, Refused for what an instance has."""
    used = {ipaddress.ip_address(address): id for address, id in view.addresses.get(network.id, {}).items()}
    for text in ranges:
        first, last = parse_range(text, "reserved")
        family = network.family(first.version)
        check(
            family and first in family.subnet and last in family.subnet,
            BadInput(f"{text} is not in it", network, f"its subnets: {named([str(f.subnet) for f in network.families])}"),
        )
        holders = (view.find("instance", id) for address, id in used.items() if _is_within(address, first, last))
        taken = sorted(holder.name for holder in holders if holder)
        check(
            not taken,
            Refused(f"{named(taken)} has an address in {text}", network, "reserve what is free, or remove the instance first"),
        )


def _is_within(address: Address, first: Address, last: Address) -> bool:
    return address.version == first.version and int(first) <= int(address) <= int(last)


def _pool(network: Network, version: int, first: str | None, last: str | None) -> tuple[str, str]:
    """The pool of one family with the ends that were asked for."""
    present = network.pool if version == 4 else network.pool6
    if first is None and last is None:
        return present
    family = require(network.family(version), BadInput(f"it has no IPv{version}", network))
    ends = [ipaddress.ip_address(text) for text in (first or present[0], last or present[1]) if text]
    check(len(ends) == 2, BadInput("a pool has two ends", network, "give the first and the last address"))
    for end in ends:
        check(family.has_host(end), BadInput(f"{end} is not a host address in {family.subnet}", network))
    check(int(ends[0]) <= int(ends[1]), BadInput("the pool ends before it begins", network))
    return str(ends[0]), str(ends[1])


def _host_ports(network: Network, request: ModifyNetwork) -> tuple[str, ...]:
    for port in request.deny_host:
        check(
            port in network.host_ports,
            Refused(
                f"guests do not reach {port} of their node anyway", network, f"they reach: {named(network.host_ports) or 'none'}"
            ),
        )
    return tuple(sorted({*network.host_ports, *request.allow_host}.difference(request.deny_host)))


def _reserved(view: ClusterView, network: Network, request: ModifyNetwork) -> tuple[str, ...]:
    released = [render_range(parse_range(text, "release")) for text in request.release]
    added = [render_range(parse_range(text, "reserve")) for text in request.reserve]
    for text in released:
        check(
            text in network.reserved,
            Refused(f"{text} is no reservation of it", network, f"there are: {named(network.reserved) or 'none'}"),
        )
    check_reservations(view, network, [text for text in added if text not in network.reserved])
    return tuple(dict.fromkeys([*(text for text in network.reserved if text not in released), *added]))
