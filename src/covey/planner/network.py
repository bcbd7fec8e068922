"""Verbs of networks."""

from __future__ import annotations

import ipaddress

from covey.base.errors import BadInput, Refused, check
from covey.model.network import Network
from covey.model.node import Node
from covey.model.plan import Plan, Uses, delete, put
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.steps.network import EnsureNetwork, EnsureNetworkAbsent
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.registry import plans
from covey.planner.wording import named


@plans(AddNetwork)
def add(view: ClusterView, request: AddNetwork) -> Plan:
    """Make a bridge with a subnet on every node. Raises Refused for a name, bridge or subnet that is taken."""
    view.check_initialised()
    check(
        not view.named("network", request.name),
        Refused("the name is taken", f"network {request.name}", "see: covey network list"),
    )
    network = _resolve(request, _name_servers(view, request))
    subnet = ipaddress.IPv4Network(network.subnet)
    for other in view.all("network", Network):
        check(
            not subnet.overlaps(ipaddress.IPv4Network(other.subnet)),
            Refused(
                f"its subnet {network.subnet} overlaps {other.subnet} of {other}",
                f"network {network.name}",
                "choose another --subnet",
            ),
        )
        check(
            other.bridge != network.bridge,
            Refused(f"the bridge {network.bridge} belongs to {other}", f"network {network.name}", "choose another --bridge"),
        )
    nodes = sorted(view.all("node", Node), key=lambda node: node.name)
    return Plan(
        f"make network {network.name}: {network.subnet} on bridge {network.bridge}",
        tuple(EnsureNetwork(node=node.id, network=network) for node in nodes),
        Uses(exclusive=(f"network/{network.id}", f"bridge/{network.bridge}", "subnets/all")),
        reasons=(
            f"guests get {network.pool[0]} to {network.pool[1]}, gateway {network.gateway}",
            f"guests ask {named(network.dns)} for names" if network.dns else "guests are told no name server: --dns names one",
        ),
        success=(put(network),),
    )


def _name_servers(view: ClusterView, request: AddNetwork) -> tuple[str, ...]:
    """Those asked for; else, for guests that reach the outside through a node, the ones that the nodes use themselves."""
    if request.dns or not request.nat:
        return request.dns
    known = [server for node in sorted(view.telemetry) for server in view.telemetry[node].resolvers]
    return tuple(dict.fromkeys(known))[:3]


def _resolve(request: AddNetwork, dns: tuple[str, ...]) -> Network:
    """The record with every choice made. Raises BadInput when the pool would be empty."""
    subnet = ipaddress.IPv4Network(request.subnet)
    first_host, last_host = subnet.network_address + 1, subnet.broadcast_address - 1
    gateway = ipaddress.IPv4Address(request.gateway) if request.gateway else first_host
    first = (
        ipaddress.IPv4Address(request.pool_first)
        if request.pool_first
        else (first_host + 1 if gateway == first_host else first_host)
    )
    last = (
        ipaddress.IPv4Address(request.pool_last) if request.pool_last else (last_host - 1 if gateway == last_host else last_host)
    )
    check(
        first <= last,
        BadInput("no address is left for guests", f"network {request.name}", "widen --pool or the subnet"),
    )
    id = draw_uuid(request, "network")
    bridge = request.bridge or f"cv-{request.name.replace('.', '-')}"
    return Network(
        id,
        request.name,
        bridge if len(bridge) <= 15 else f"cv-{id[:8]}",
        str(subnet),
        str(gateway),
        (str(first), str(last)),
        request.nat,
        dns,
        request.now,
    )


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
            "remove those first",
        ),
    )
    nodes = sorted(view.all("node", Node), key=lambda node: node.name)
    return Plan(
        f"remove {network} and its bridge {network.bridge}",
        tuple(EnsureNetworkAbsent(node=node.id, network=network) for node in nodes),
        Uses(exclusive=(f"network/{network.id}", "subnets/all")),
        success=(delete(network),),
        repair=f"covey network remove {network.name}",
    )
