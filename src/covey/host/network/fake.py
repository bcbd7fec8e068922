"""A machine's networks, pretended: the same refusals, no kernel."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from covey.base.errors import Refused
from covey.host.network.check import check_network
from covey.host.shelf import Shelf, Thing
from covey.model.names import check_tag
from covey.model.network import FoundNetwork, Network

_PREFIX = "network/"


class FakeNetworks:
    """Bridges as things on a shelf. `interfaces` are the pretended machine's own: name to address with prefix."""

    def __init__(self, shelf: Shelf, interfaces: Mapping[str, str] | None = None) -> None:
        self._shelf = shelf
        self._interfaces = dict(interfaces or {})

    async def ensure_network(self, network: Network, job: str) -> None:
        check_network(network)
        check_tag(job, network)
        self._refuse_foreign(network)
        self._refuse_overlap(network)
        present = self._shelf.get(_PREFIX + network.id)
        made = _as_wanted(network, present["job"] if present else job)
        self._shelf.put(_PREFIX + network.id, {**made, "ports": present["ports"]} if present else made)

    async def ensure_joined(self, network: Network, taps: tuple[str, ...]) -> None:
        """Pretended guests never leave a bridge, and so need not join it again."""
        check_network(network)

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        check_network(network)
        present = self._shelf.get(_PREFIX + network.id)
        if present and job in ("", present["job"]):
            if present["ports"]:
                raise Refused(
                    f"{', '.join(present['ports'])} still on the bridge",
                    network,
                    "stop the guests on this network first",
                )
            self._shelf.delete(_PREFIX + network.id)

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        records = {network.id: network for network in wanted}
        return tuple(
            _compare(key.removeprefix(_PREFIX), thing, records.get(key.removeprefix(_PREFIX)))
            for key, thing in self._shelf.items(_PREFIX)
        )

    def flush_rules(self) -> None:
        """What `nft flush ruleset` does to a real machine."""
        for key, thing in self._shelf.items(_PREFIX):
            self._shelf.put(key, {**thing, "rules": False})

    def plug(self, network: Network, port: str) -> None:
        """A guest's interface is on the bridge from now on."""
        self._shelf.put(_PREFIX + network.id, {**self._thing(network), "ports": [*self._thing(network)["ports"], port]})

    def unplug(self, network: Network) -> None:
        """No guest is on the bridge any more."""
        self._shelf.put(_PREFIX + network.id, {**self._thing(network), "ports": []})

    def _thing(self, network: Network) -> Thing:
        return self._shelf.get(_PREFIX + network.id) or {}

    def _refuse_foreign(self, network: Network) -> None:
        if network.bridge in self._interfaces:
            raise Refused(f"the interface {network.bridge} was not made by Covey", network, "give the network another bridge")
        for key, thing in self._shelf.items(_PREFIX):
            owner = key.removeprefix(_PREFIX)
            if thing["bridge"] == network.bridge and owner != network.id:
                raise Refused(
                    f"the interface {network.bridge} is the bridge of network {owner}",
                    network,
                    "give it another bridge",
                )
            if thing["bridge"] != network.bridge and owner == network.id:
                raise Refused(f"its bridge is here already, by the name {thing['bridge']}", network)

    def _refuse_overlap(self, network: Network) -> None:
        subnet = check_network(network).network
        in_use = [(name, address) for name, address in self._interfaces.items()]
        in_use += [(thing["bridge"], thing["address"]) for _, thing in self._shelf.items(_PREFIX)]
        for name, address in in_use:
            used = ipaddress.IPv4Interface(address).network
            if name != network.bridge and used.overlaps(subnet):
                raise Refused(
                    f"the subnet {subnet} is in use on this machine: {name} has {used}",
                    network,
                    "choose another subnet",
                )


def _as_wanted(network: Network, job: str) -> Thing:
    return {
        "bridge": network.bridge,
        "job": job,
        "address": str(check_network(network)),
        "nat": network.nat,
        "rules": True,
        "ports": [],
    }


def _compare(network: str, thing: Thing, record: Network | None) -> FoundNetwork:
    if record is None:
        why = "no record to compare it with"
    elif {**thing, "ports": [], "rules": True} != _as_wanted(record, thing["job"]):
        why = f"it has {thing['address']} and nat {thing['nat']}, not {check_network(record)} and {record.nat}"
    else:
        why = "" if thing["rules"] else "its packet rules are gone"
    return FoundNetwork(network, thing["bridge"], thing["job"], intact=not why, why=why)
