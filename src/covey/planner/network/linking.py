"""Where nodes differ in what they link a network to."""

from __future__ import annotations

from collections.abc import Iterable

from covey.base.errors import BadInput, Refused, check
from covey.model.network import Link, Network
from covey.model.node import Node
from covey.model.requests.network import LinkWish
from covey.model.step import Step
from covey.model.steps.network import EnsureNetworkAbsent
from covey.model.view import ClusterView
from covey.placement.links import guests_on, missing_link
from covey.planner.everywhere import all_nodes, reached
from covey.planner.wording import named

NONE, USUAL = "none", "usual"


def links_of(
    view: ClusterView, present: Iterable[Link], wishes: Iterable[LinkWish], network: str, names_interfaces: bool
) -> tuple[Link, ...]:
    """The links with what was wished. Raises NotFound for a node, BadInput for an interface when the network has none of its own
    (`names_interfaces`)."""
    links = {link.node: link for link in present}
    for wish in wishes:
        node = view.node(wish.node)
        links.pop(node.id, None)
        if wish.interface != USUAL:
            check(
                wish.interface == NONE or names_interfaces,
                BadInput(
                    f"Covey makes its bridge: there is nothing of {node.name} to link it to",
                    f"network {network}",
                    f"say {node.name}={NONE} to leave it away there; adopted networks, and routed ones with an uplink, have interfaces",
                ),
            )
            links[node.id] = Link(node.id, "" if wish.interface == NONE else wish.interface)
    return tuple(links[id] for id in sorted(links))


def names_interfaces(network: Network) -> bool:
    """Whether a node links something of its own to the network."""
    return network.adopted or bool(network.uplink)


def check_there(view: ClusterView, network: Network, asked: Iterable[LinkWish]) -> None:
    """Raises Refused when a node does not have what it was asked to link, or when no node at all has something to."""
    for wish in asked:
        _check_has(view, network, view.node(wish.node))
    nodes = [node for node in reached(view) if network.on(node.id)]
    if nodes and all(missing_link(view, network, node) for node in nodes):
        _check_has(view, network, nodes[0])


def _check_has(view: ClusterView, network: Network, node: Node) -> None:
    missing, told = missing_link(view, network, node), view.telemetry.get(node.id)
    there = (told.bridges if network.adopted else told.interfaces) if told else ()
    hint = f"it has {named(there)}" if there else "make the bridge in the machine's own network configuration first"
    check(not missing, Refused(missing, network, hint))


def check_nobody_moves(view: ClusterView, before: Network, after: Network) -> None:
    """Raises Refused when instances have NICs on the network where its link would change."""
    for node in all_nodes(view):
        if before.on(node.id) is None or _interface(before, node) == _interface(after, node):
            continue
        guests = guests_on(view, before, node)
        check(
            not guests,
            Refused(
                f"{named(guests)} on {node.name} would lose it",
                before,
                "move their NICs to another network first: covey nic modify INSTANCE NIC --network OTHER",
            ),
        )


def leaving(view: ClusterView, before: Network, after: Network) -> tuple[Step, ...]:
    """The steps after which nodes that are to have the network no more have nothing of it."""
    lost = [(node, before.on(node.id)) for node in all_nodes(view) if after.on(node.id) is None]
    return tuple(EnsureNetworkAbsent(node=node.id, network=here) for node, here in lost if here)


def share_a_bridge(view: ClusterView, one: Network, other: Network) -> str:
    """A bridge that two networks would both have on some node, "" for none. A node that joins later has what is usual."""
    if one.bridge and one.bridge == other.bridge:
        return one.bridge
    both = ((one.on(node.id), other.on(node.id)) for node in all_nodes(view))
    return next((mine.bridge for mine, theirs in both if mine and theirs and mine.bridge == theirs.bridge), "")


def bridges_of(network: Network) -> tuple[str, ...]:
    """The objects that stand for the names of its bridges in what plans use."""
    links = [link.interface for link in network.links] if network.adopted else []
    return tuple(f"bridge/{name}" for name in dict.fromkeys((network.bridge, *links)) if name)


def _interface(network: Network, node: Node) -> str | None:
    here = network.on(node.id)
    return None if here is None else here.bridge if here.adopted else here.uplink
