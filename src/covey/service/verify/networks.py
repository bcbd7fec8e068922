"""Bridges, and the packet rules of NICs."""

from __future__ import annotations

from covey.model.filter import FoundFilters, digest_of_filters, digest_of_rules
from covey.model.firewall import Firewall
from covey.model.network import FoundNetwork, Network
from covey.model.node import Node
from covey.model.order import Inventory
from covey.model.requests.repair import (
    RemoveOrphanDomain,
    RemoveOrphanNetwork,
    RepairFilters,
    RepairInstance,
    RepairNetwork,
)
from covey.model.view import ClusterView
from covey.placement.links import guests_on, missing_link, way_to_link
from covey.planner.filters import filters_of
from covey.service.verify.work import AND_FIX, ERROR, NO_TAG, WARNING, Work


def check_networks(work: Work, node: Node, inventory: Inventory) -> None:
    found = {network.id: network for network in inventory.networks}
    for network in work.after.all("network", Network):
        if work.is_settled("network", network.id):
            work.check()
            present, missing = found.get(network.id), missing_link(work.after, network, node)
            here = network.on(node.id)
            if here is None:
                continue  # a bridge that is left there all the same is found below
            if missing:
                _find_unlinked(work, node, network, missing)
            elif present is None or not present.intact:
                _find_broken(work, node, here, present)
    for id, present in found.items():
        work.check()
        known = _is_to_be_on(work.before, node, id) or _is_to_be_on(work.after, node, id)
        if not known and work.is_settled("network", id) and f"bridge/{present.bridge}" not in work.busy:
            work.orphan(
                f"{node.name}:{id}",
                f"network {node.name}:{present.bridge or id}",
                "orphan-network",
                "a bridge of Covey's that no record names"
                if present.bridge
                else "packet rules of a network that no record names",
                NO_TAG,
                present.job,
                RemoveOrphanNetwork(node=node.name, network=id, bridge=present.bridge),
            )


def _is_to_be_on(view: ClusterView, node: Node, id: str) -> bool:
    network: Network | None = view.find("network", id)
    return network is not None and network.on(node.id) is not None


def _find_unlinked(work: Work, node: Node, network: Network, missing: str) -> None:
    work.find(
        f"{node.name}:{network.id}",
        ERROR if guests_on(work.after, network, node) else WARNING,
        network,
        "network-unlinked",
        missing,
        "instances on this network cannot run there, and are placed on other nodes",
        way_to_link(network, node),
    )


def _find_broken(work: Work, node: Node, network: Network, present: FoundNetwork | None) -> None:
    what = f"{node.name} has no bridge {network.bridge}" if present is None else f"on {node.name}: {present.why}"
    if network.adopted:
        why, fix = "it is the site's own: Covey does not make or change it", f"on {node.name}: bring {network.bridge} up again"
        work.find(f"{node.name}:{network.id}", ERROR, network, "network-broken", what, why, fix)
    else:
        why = "bridges do not outlive a restart of the machine, and can be changed by hand"
        request = RepairNetwork(network=network.name)
        work.find(f"{node.name}:{network.id}", ERROR, network, "network-broken", what, why, AND_FIX, request)


def check_filters(work: Work, node: Node, found: FoundFilters, domains: frozenset[str]) -> None:
    """`domains` are those that the node has: of one that no record names, the domain itself is told, with what goes along."""
    """What a node keeps of filters is what the records say, and its packet rules are what it keeps."""
    work.check()
    if found.why and not any(name.startswith("instance/") for name in work.busy):
        work.find(
            node.id,
            ERROR,
            node,
            "filters-broken",
            f"its packet rules of NICs are not as they should be: {found.why}",
            "they were flushed or changed by hand (a restart of the nftables service flushes all); Covey mends them within a minute",
            AND_FIX,
            RepairFilters(node=node.name),
        )
    for firewall in work.after.all("firewall", Firewall):
        if work.is_settled("firewall", firewall.id):
            work.check()
            if found.firewalls.get(firewall.id) != digest_of_rules(firewall.rules):
                work.find(
                    f"{node.name}:{firewall.id}",
                    ERROR,
                    firewall,
                    "firewall-drift",
                    f"{node.name} does not have its rules as the record says",
                    "a change was cut short, or the file that keeps it was lost",
                    AND_FIX,
                    RepairFilters(node=node.name),
                )
    for instance in work.after.instances:
        if instance.node == node.id and instance.nics and instance.state == "ready" and work.is_settled("instance", instance.id):
            work.check()
            if found.instances.get(instance.id) != digest_of_filters(filters_of(work.after, instance)):
                work.find(
                    instance.id,
                    ERROR,
                    instance,
                    "filter-drift",
                    f"{node.name} does not filter its NICs as the record says",
                    "a change was cut short, its network was changed, or the file that keeps it was lost",
                    AND_FIX,
                    RepairInstance(instance=instance.name),
                )
    for id in found.instances.keys() - domains:
        work.check()
        if not (work.before.find("instance", id) or work.after.find("instance", id)) and work.is_settled("instance", id):
            work.orphan(
                f"{node.name}:{id}",
                f"domain {node.name}:{id}",
                "orphan-filter",
                "packet rules that no record names",
                "left by a job that was cut short",
                "",
                RemoveOrphanDomain(node=node.name, domain=id),
            )
