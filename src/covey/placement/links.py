"""Which networks a node has, and why it lacks one."""

from __future__ import annotations

from collections.abc import Iterable

from covey.base.errors import Refused, check
from covey.model.network import Network
from covey.model.node import Node
from covey.model.view import ClusterView


def missing_link(view: ClusterView, network: Network, node: Node) -> str:
    """What a node does not have of what a network is to be linked to there; "" when it has all, or has not said what it has."""
    here, told = network.on(node.id), view.telemetry.get(node.id)
    if here is None or told is None or not told.interfaces:
        return ""
    if here.adopted and here.bridge not in told.bridges:
        down = " that is up" if here.bridge in told.interfaces else ""
        return f"{node.name} has no bridge {here.bridge}{down}"
    if here.uplink and here.uplink not in told.interfaces:
        return f"{node.name} has no interface {here.uplink}"
    return ""


def why_not_on(view: ClusterView, network: Network, node: Node) -> str:
    """Why no instance with a NIC on the network can be on a node; "" when it can."""
    if network.on(node.id) is None:
        return f"{network} is not on {node.name}"
    missing = missing_link(view, network, node)
    return f"{missing}, which {network} is to be linked to" if missing else ""


def way_to_link(network: Network, node: Node) -> str:
    """What a person does about a link that is missing."""
    here = network.on(node.id) or network
    what = f"make the bridge {here.bridge}" if network.adopted else f"bring the interface {here.uplink} back"
    return f"on {node.name}: {what}; or name another, or none: covey network modify {network.name} --link {node.name}=NAME"


def guests_on(view: ClusterView, network: Network, node: Node) -> list[str]:
    """The names of the instances on a node that have a NIC on the network."""
    return sorted(
        one.name for one in view.instances if one.node == node.id and any(nic.network == network.id for nic in one.nics)
    )


def check_linked(view: ClusterView, node: Node, networks: Iterable[str], object: object) -> None:
    """Raises Refused when a node does not have one of the networks with these ids."""
    for id in dict.fromkeys(networks):
        network: Network | None = view.find("network", id)
        why = why_not_on(view, network, node) if network else ""
        name = network.name if network else ""
        check(
            not why,
            Refused(why, object, f"choose another node, or link it: covey network modify {name} --link {node.name}=BRIDGE"),
        )
