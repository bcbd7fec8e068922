"""network add and remove."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator

from covey.base.errors import BadInput, Refused, check
from covey.model.network import NO_POOL, Family, Forward, Network
from covey.model.plan import Plan, Uses, delete, put
from covey.model.requests.network import AddNetwork, RemoveNetwork, parse_range, render_range
from covey.model.steps.network import EnsureNetworkAbsent
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.everywhere import NODES, all_nodes
from covey.planner.network.laying import laying, unlinked
from covey.planner.network.linking import bridges_of, check_there, links_of, share_a_bridge
from covey.planner.network.modify import check_reservations, spelled
from covey.planner.registry import plans
from covey.planner.wording import named

ON_LINK = {
    4: "169.254.1.1",
    6: "fd00:c07e::1",
}  # gateways of guests whose subnet is not the bridge's: an address of the bridge's own


@plans(AddNetwork)
def add(view: ClusterView, request: AddNetwork) -> Plan:
    """Make a bridge on every node, or adopt the one that is there. Raises Refused for a name, bridge or subnet that is taken."""
    view.check_initialised()
    check(
        not view.named("network", request.name),
        Refused("the name is taken", f"network {request.name}", "see: covey network list"),
    )
    network = _resolve(view, request, _name_servers(view, request))
    check_there(view, network, request.links)
    for other in view.all("network", Network):
        check_apart(view, network, other)
    check_reservations(view, network, network.reserved)
    return Plan(
        f"{'adopt' if network.adopted else 'make'} network {network.name}: {_described(network)} on bridge {network.bridge or 'each its own'}",
        laying(view, network),
        Uses((f"network/{network.id}", *bridges_of(network), "subnets/all"), (NODES,)),
        reasons=tuple(_reasons(network)),
        warnings=(*_warnings(network), *unlinked(view, network)),
        success=(put(network),),
    )


def _described(network: Network) -> str:
    subnets = " and ".join(str(family.subnet) for family in network.families)
    return f"{network.type}{', ' if subnets else ''}{subnets}"


def _reasons(network: Network) -> Iterator[str]:
    for family in network.families:
        gateway = f"gateway {family.gateway}" if family.gateway else "no gateway"
        guests = f"{family.pool[0]} to {family.pool[1]}" if any(family.pool) else "addresses that are asked for by hand"
        yield f"guests get {guests}, {gateway}"
    if network.adopted and not any(any(family.pool) for family in network.families):
        yield "guests ask the site for addresses (DHCP)"
    elif network.families:
        yield f"guests ask {named(network.dns)} for names" if network.dns else "guests are told no name server: --dns names one"
    if not network.adopted:
        yield f"guests reach nothing of their node but {named(network.host_ports) or 'its answer to ping'}"


def _warnings(network: Network) -> Iterator[str]:
    if network.adopted:
        yield "guests are on the site's own network: what its machines may do there, guests may"


def check_apart(view: ClusterView, network: Network, other: Network) -> None:
    """Raises Refused when the two share a bridge or addresses."""
    for subject, with_gateway in ((network, other), (other, network)):
        _check_gateways_elsewhere(network, subject, with_gateway)
    for mine, theirs in itertools.product(network.families, other.families):
        check(
            mine.version != theirs.version or not mine.subnet.overlaps(theirs.subnet),
            Refused(
                f"its subnet {mine.subnet} overlaps {theirs.subnet} of {other}",
                network,
                "choose another --subnet" + ("6" if mine.version == 6 else ""),
            ),
        )
    shared = share_a_bridge(view, network, other)
    check(
        not shared,
        Refused(f"the bridge {shared} belongs to {other}", network, "choose another --bridge, or a --link for that node"),
    )


def _check_gateways_elsewhere(label: Network, network: Network, other: Network) -> None:
    """Raises Refused when a gateway of `other` is an address within `network`: the machine would reach its subnet by two bridges."""
    if network.adopted or network.is_per_guest or other.adopted:
        return  # the subnet is not that bridge's alone, or the gateway is another machine
    for mine, theirs in itertools.product(network.families, other.families):
        check(
            not theirs.gateway or ipaddress.ip_address(theirs.gateway) not in mine.subnet or mine.subnet.overlaps(theirs.subnet),
            Refused(
                f"the gateway {theirs.gateway} of {other} is in {mine.subnet} of {network}", label, "choose another --gateway"
            ),
        )


def _name_servers(view: ClusterView, request: AddNetwork) -> tuple[str, ...]:
    """Those asked for; else, for guests that reach the outside through a node, the ones that the nodes use themselves."""
    if request.dns:
        return spelled(request.dns)
    hidden = request.type in ("", "nat")
    reached = {4: hidden and bool(request.subnet) and request.nat, 6: request.nat6}
    known = [server for node in sorted(view.telemetry) for server in view.telemetry[node].resolvers]
    return tuple(dict.fromkeys(server for server in known if reached[ipaddress.ip_address(server).version]))[:3]


def _resolve(view: ClusterView, request: AddNetwork, dns: tuple[str, ...]) -> Network:
    """The record with every choice made. Raises BadInput when a pool would be empty."""
    family = _family(request, "")
    family6 = _family(request, "6")
    hidden = request.type in ("", "nat")
    id = draw_uuid(request, "network")
    adopted = request.type == "adopted"
    bridge = request.bridge or ("" if adopted else f"cv-{request.name.replace('.', '-')}")
    return Network(
        id,
        request.name,
        bridge if len(bridge) <= 15 else f"cv-{id[:8]}",
        str(family.subnet) if family else "",
        family.gateway if family else "",
        family.pool if family else NO_POOL,
        hidden and request.nat and family is not None,
        dns,
        request.now,
        str(family6.subnet) if family6 else "",
        family6.gateway if family6 else "",
        family6.pool if family6 else NO_POOL,
        request.nat6,
        adopted,
        request.type == "isolated",
        request.uplink,
        tuple(dict.fromkeys(render_range(parse_range(text, "reserved")) for text in request.reserved)),
        tuple(sorted(set(request.host_ports))),
        request.notes,
        links=links_of(view, (), request.links, request.name, adopted or bool(request.uplink)),
    )


def _family(request: AddNetwork, suffix: str) -> Family | None:
    """What was asked of one family, with every choice made: the gateway is the subnet's first host, guests get all others."""
    asked = {name: str(getattr(request, f"{name.replace('pool', 'pool' + suffix)}")) for name in ("pool_first", "pool_last")}
    text, gateway = str(getattr(request, f"subnet{suffix}")), str(getattr(request, f"gateway{suffix}"))
    if not text:
        return None
    subnet = ipaddress.ip_network(text)
    first_host, last_host = subnet[1], subnet[-2] if subnet.version == 4 else subnet[-1]
    if not gateway and request.uplink:
        gateway = ON_LINK[subnet.version]
    elif not gateway and request.type not in ("isolated", "adopted"):
        gateway = str(first_host)
    gateway = str(ipaddress.ip_address(gateway)) if gateway else ""
    if request.type == "adopted" and not any(asked.values()):
        return Family(subnet, gateway, NO_POOL)
    first = ipaddress.ip_address(asked["pool_first"]) if asked["pool_first"] else first_host + (gateway == str(first_host))
    last = ipaddress.ip_address(asked["pool_last"]) if asked["pool_last"] else last_host - (gateway == str(last_host))
    check(
        int(first) <= int(last),
        BadInput("no address is left for guests", f"network {request.name}", "widen --pool or the subnet"),
    )
    return Family(subnet, gateway, (str(first), str(last)))


@plans(RemoveNetwork)
def remove(view: ClusterView, request: RemoveNetwork) -> Plan:
    """Raises Refused while an instance has a NIC on it, naming the instances."""
    network = view.network(request.network)
    users = sorted(i.name for i in view.instances if any(nic.network == network.id for nic in i.nics))
    check(
        not users,
        Refused(
            f"it is used by {named(users)}",
            network,
            "remove those, or move their NICs: covey nic modify INSTANCE NIC --network OTHER",
        ),
    )
    forwards = [forward for forward in view.all("forward", Forward) if forward.network == network.id]
    return Plan(
        f"let go of {network}: its bridge {network.bridge} stays"
        if network.adopted
        else f"remove {network} and its bridge {network.bridge}",
        tuple(EnsureNetworkAbsent(node=node.id, network=here) for node in all_nodes(view) if (here := network.on(node.id))),
        Uses((f"network/{network.id}", "subnets/all"), (NODES,)),
        success=(delete(network), *(delete(forward) for forward in forwards)),
        repair=f"covey network remove {network.name}",
    )
