"""What a node is told of a network: the record, and what follows from the records of forwards and instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from covey.base.errors import Refused, check
from covey.model.instance import Instance
from covey.model.network import Entrance, Forward, Network
from covey.model.plan import Uses
from covey.model.record import Record, key_of
from covey.model.step import Step
from covey.model.steps.network import EnsureNetwork, EnsureNotRouted, EnsureRouted
from covey.model.view import ClusterView
from covey.placement.links import missing_link
from covey.planner.everywhere import reached


def laid(view: ClusterView, network: Network, node: str) -> Network | None:
    """The network as the node with this id is told of it; None where it is not to have it."""
    here = network.on(node)
    return replace(here, entrances=_entrances(view, network), routes=_routes(view, network, node), links=()) if here else None


def all_laid(view: ClusterView, node: str) -> tuple[Network, ...]:
    """All networks that the node with this id is to have, by name, as it is told of them."""
    told = (laid(view, network, node) for network in view.all("network", Network))
    return tuple(sorted((network for network in told if network), key=lambda network: network.name))


def laying(view: ClusterView, network: Network) -> tuple[Step, ...]:
    """The steps after which every node that can be linked to the network has it as recorded."""
    told = [(node, laid(view, network, node.id)) for node in reached(view) if not missing_link(view, network, node)]
    return tuple(EnsureNetwork(node=node.id, network=here) for node, here in told if here)


def unlinked(view: ClusterView, network: Network) -> tuple[str, ...]:
    """A sentence on each node that is to have the network and has nothing to link it to."""
    missing = (missing_link(view, network, node) for node in reached(view))
    return tuple(f"{why}: instances on {network} go elsewhere until it does" for why in missing if why)


def laying_anew(before: ClusterView, after: ClusterView, network: str) -> tuple[Step, ...]:
    """The steps after which every node has the network with this id as it is in `after`; taken back, it is as in `before`. The plan must
    have the network to itself."""
    old: Any = before.find("network", network)
    new: Any = after.find("network", network)
    if old is None or new is None:
        return ()  # it has no record: no node can be told of it
    linked = (node for node in reached(before) if not missing_link(after, new, node))
    pairs = ((node, laid(before, old, node.id), laid(after, new, node.id)) for node in linked)
    return tuple(
        EnsureNetwork(node=node.id, network=new, before=old) for node, old, new in pairs if new and is_told_apart(old, new)
    )


def is_told_apart(one: Network | None, other: Network) -> bool:
    """Whether a node has to do anything to make the one of the other; None is one that it does not have."""
    if one is None:
        return True
    aside = {"name": "", "notes": "", "reserved": (), "pool": ("", ""), "pool6": ("", ""), "created_at": 0.0}
    return replace(one, **aside) != replace(other, **aside)  # type: ignore[arg-type]


def changed(view: ClusterView, *records: Record, without: Iterable[Record] = ()) -> ClusterView:
    """The view as it will be with these records, and without those."""
    gone = ((key_of(record), None) for record in without)
    return view.apply([*((key_of(record), record) for record in records), *gone], view.revision, 0)


def routing(view: ClusterView, instance: Instance, is_new: bool = False) -> tuple[Step, ...]:
    """The steps after which the instance's node leads packets to its guest, on networks where it does so for each. Of one that is new
    there, nothing is left when they are taken back."""
    return tuple(
        EnsureRouted(
            node=instance.node,
            network=network,
            instance=instance.id,
            addresses=addresses,
            new=is_new,
        )
        for network, addresses in routed_one_by_one(view, instance)
    )


def routed_one_by_one(view: ClusterView, instance: Instance) -> Iterator[tuple[Network, tuple[str, ...]]]:
    """The networks on which the instance's node has a route for each guest, with the instance's addresses there."""
    for id in dict.fromkeys(nic.network for nic in instance.nics):
        network: Network | None = view.find("network", id)
        addresses = tuple(address for nic in instance.nics if nic.network == id for address in nic.addresses)
        here = network.on(instance.node) if network else None
        if here and here.is_per_guest and addresses:
            yield replace(here, links=()), addresses


@dataclass(frozen=True, slots=True)
class Following:
    """What networks do when the addresses of an instance change: `first` are the steps after which ports and routes lead to the new ones,
    `last` those after which no route leads to the old ones; `networks` are the objects that the plan must have to itself, and so are
    `forwards`, which come or go with the instance."""

    first: tuple[Step, ...]
    last: tuple[Step, ...]
    networks: tuple[str, ...]
    forwards: tuple[Forward, ...] = ()

    def uses(self, uses: Uses) -> Uses:
        """What the plan of the instance's change names, with this."""
        shared = tuple(name for name in uses.shared if name not in self.networks)
        return Uses((*uses.exclusive, *self.networks, *(f"forward/{forward.id}" for forward in self.forwards)), shared)


def withdrawal(view: ClusterView, instance: Instance) -> Following:
    """The instance goes, and takes its forwards along."""
    forwards = forwards_to(view, instance.id)
    after = changed(view, without=forwards)
    networks = tuple(dict.fromkeys(forward.network for forward in forwards))
    return Following(
        tuple(step for network in networks for step in laying_anew(view, after, network)),
        no_routes(view, instance),
        tuple(f"network/{network}" for network in networks),
        forwards,
    )


def arrival(view: ClusterView, instance: Instance, forwards: tuple[Forward, ...]) -> Following:
    """The instance comes back, and brings these forwards."""
    after = changed(view, instance, *forwards)
    networks = tuple(dict.fromkeys(forward.network for forward in forwards))
    return Following(
        tuple(step for network in networks for step in laying_anew(view, after, network)),
        (),
        tuple(f"network/{network}" for network in networks),
        forwards,
    )


def following(view: ClusterView, before: Instance, after: Instance) -> Following:
    """The instance gets other addresses, which its forwards follow. Raises Refused when a forward would lead nowhere."""
    forwards = forwards_to(view, before.id)
    for forward in forwards:
        check(
            any(nic.network == forward.network and nic.addresses for nic in after.nics),
            Refused(f"{forward} leads to it by that address", before, f"covey forward remove {forward.name}"),
        )
    later = changed(view, after)
    laid_anew = {network: laying_anew(view, later, network) for network in dict.fromkeys(f.network for f in forwards)}
    had = {network.id: addresses for network, addresses in routed_one_by_one(view, before)}
    new = [
        (network, tuple(address for address in addresses if address not in had.get(network.id, ())))
        for network, addresses in routed_one_by_one(later, after)
    ]
    routes = [
        EnsureRouted(node=after.node, network=network, instance=after.id, addresses=addresses, new=True)
        for network, addresses in new
        if addresses
    ]
    return Following(
        (*(step for steps in laid_anew.values() for step in steps), *routes),
        _no_routes(view, before, after),
        tuple(f"network/{network}" for network, steps in laid_anew.items() if steps),
    )


def no_routes(view: ClusterView, instance: Instance) -> tuple[Step, ...]:
    """The steps after which the node in this record leads no packets to its guest."""
    return _no_routes(view, instance, replace(instance, nics=()))


def _no_routes(view: ClusterView, before: Instance, after: Instance) -> tuple[Step, ...]:
    """The steps after which no route leads to an address that only `before` has."""
    kept = {(nic.network, address) for nic in after.nics for address in nic.addresses}
    lost = [
        (network, tuple(address for address in addresses if (network.id, address) not in kept))
        for network, addresses in routed_one_by_one(view, before)
    ]
    return tuple(
        EnsureNotRouted(node=before.node, network=network, instance=before.id, addresses=addresses)
        for network, addresses in lost
        if addresses
    )


def forwards_to(view: ClusterView, instance: str) -> tuple[Forward, ...]:
    """The forwards that lead to the instance with this id."""
    found = (forward for forward in view.all("forward", Forward) if forward.instance == instance)
    return tuple(sorted(found, key=lambda forward: forward.name))


def _entrances(view: ClusterView, network: Network) -> tuple[Entrance, ...]:
    found = []
    for forward in sorted(view.all("forward", Forward), key=lambda forward: forward.name):
        instance: Instance | None = view.find("instance", forward.instance) if forward.network == network.id else None
        if instance:
            nics = [nic for nic in instance.nics if nic.network == network.id]
            address = next((nic.address for nic in nics if nic.address), "")
            address6 = next((nic.address6 for nic in nics if nic.address6), "")
            found.append(Entrance(forward.protocol, forward.port, address, address6, forward.to_port, forward.sources))
    return tuple(found)


def _routes(view: ClusterView, network: Network, node: str) -> tuple[str, ...]:
    if not network.is_per_guest:
        return ()
    guests = (instance for instance in view.instances if instance.node == node)
    return tuple(
        sorted(address for guest in guests for nic in guest.nics if nic.network == network.id for address in nic.addresses)
    )
