"""A machine's networks, pretended: the same refusals, no kernel."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace

from covey.base.errors import Refused, require
from covey.host.network.check import check_network
from covey.host.shelf import Shelf, Thing
from covey.model.names import check_tag
from covey.model.network import Arrival, FoundNetwork, Interfaces, Network

_PREFIX = "network/"
_NOT_COMPARED = ("ports", "rules", "job")


class FakeNetworks:
    """Bridges as things on a shelf. `interfaces` are the pretended machine's own: name to address with prefix; those of `bridges` can be
    adopted."""

    def __init__(self, shelf: Shelf, interfaces: Mapping[str, str] | None = None, bridges: Collection[str] = ("br0",)) -> None:
        self._shelf = shelf
        self._interfaces = {"br0": "", "uplink": "", **(interfaces or {})}
        self._bridges = bridges
        self.announced: tuple[Arrival, ...] = ()

    async def ensure_network(self, network: Network, job: str) -> None:
        check_network(network)
        check_tag(job, network)
        if network.adopted:
            self._refuse_adoption(network)
            return
        self._refuse_foreign(network)
        self._refuse_no_uplink(network)
        self._refuse_overlap(network)
        present = self._shelf.get(_PREFIX + network.id)
        made = _as_wanted(network, present["job"] if present else job)
        self._shelf.put(_PREFIX + network.id, {**made, "ports": present["ports"]} if present else made)

    async def ensure_joined(self, network: Network, taps: tuple[str, ...]) -> None:
        """Pretended guests never leave a bridge, and so need not join it again."""
        check_network(network)

    async def ensure_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        check_network(replace(network, routes=addresses))
        self._refuse_no_uplink(network)
        thing = self._shelf.get(_PREFIX + network.id)
        thing = require(thing, Refused(f"its bridge {network.bridge} is not there", network, "covey cluster verify --fix"))
        self._shelf.put(_PREFIX + network.id, {**thing, "routes": sorted({*thing["routes"], *addresses})})

    async def ensure_not_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        check_network(replace(network, routes=addresses))
        thing = self._shelf.get(_PREFIX + network.id)
        if thing:
            self._shelf.put(_PREFIX + network.id, {**thing, "routes": sorted({*thing["routes"]}.difference(addresses))})

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        check_network(network)
        if network.adopted:
            return
        present = self._shelf.get(_PREFIX + network.id)
        if present and job in ("", present["job"]):
            if present["ports"]:
                raise Refused(
                    f"{', '.join(present['ports'])} still on the bridge",
                    network,
                    "stop the guests on this network first",
                )
            self._shelf.delete(_PREFIX + network.id)

    async def announce(self, arrivals: tuple[Arrival, ...]) -> None:
        self.announced += arrivals

    async def interfaces(self) -> Interfaces:
        return Interfaces(tuple(sorted(self._interfaces)), tuple(sorted(self._bridges)))

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        records = {network.id: network for network in wanted}
        made = tuple(
            _compare(key.removeprefix(_PREFIX), thing, records.get(key.removeprefix(_PREFIX)))
            for key, thing in self._shelf.items(_PREFIX)
        )
        adopted = (network for network in wanted if network.adopted and network.bridge in self._bridges)
        return (*made, *(FoundNetwork(network.id, network.bridge, "", intact=True) for network in adopted))

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

    def lose_route(self, network: Network, address: str) -> None:
        """What `ip route del` does to a real machine."""
        thing = self._thing(network)
        self._shelf.put(_PREFIX + network.id, {**thing, "routes": [route for route in thing["routes"] if route != address]})

    def _refuse_adoption(self, network: Network) -> None:
        ours = {thing["bridge"] for _, thing in self._shelf.items(_PREFIX)}
        if network.bridge not in self._bridges:
            what = "Covey made it" if network.bridge in ours else "there is none"
            what = "it is no bridge" if network.bridge in self._interfaces else what
            raise Refused(f"cannot adopt {network.bridge}: {what}", network, "make the bridge first")

    def _refuse_no_uplink(self, network: Network) -> None:
        if network.uplink and network.uplink not in self._interfaces:
            raise Refused(f"its uplink {network.uplink} is not on this machine", network, "see: ip link; name the one that is")

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
        in_use = [(name, address) for name, address in self._interfaces.items() if address and name != network.uplink]
        in_use += [(thing["bridge"], address) for _, thing in self._shelf.items(_PREFIX) for address in thing["addresses"]]
        for wanted, (name, address) in itertools.product(network.families, in_use):
            used = ipaddress.ip_interface(address)
            if name != network.bridge and used.version == wanted.version and used.network.overlaps(wanted.subnet):
                raise Refused(
                    f"the subnet {wanted.subnet} is in use on this machine: {name} has {used.network}",
                    network,
                    "choose another subnet",
                )


def _as_wanted(network: Network, job: str) -> Thing:
    return {
        "bridge": network.bridge,
        "job": job,
        "addresses": [str(address) for address in check_network(network)],
        "nat": [network.nat, network.nat6, network.isolated],
        "ports": [],
        "host_ports": [*network.host_ports, *network.dns],
        "entrances": [f"{e.protocol}/{e.port} {e.address} {e.address6} {e.to_port} {e.sources}" for e in network.entrances],
        "routes": sorted(network.routes),
        "rules": True,
    }


def _compare(network: str, thing: Thing, record: Network | None) -> FoundNetwork:
    if record is None:
        why = "no record to compare it with"
    elif {**thing, "ports": [], "rules": True} != _as_wanted(record, thing["job"]):
        wanted = _as_wanted(record, thing["job"])
        why = "; ".join(
            f"its {part} are {thing[part]}, not {wanted[part]}"
            for part in wanted
            if part not in _NOT_COMPARED and thing[part] != wanted[part]
        )
    else:
        why = "" if thing["rules"] else "its packet rules are gone"
    return FoundNetwork(network, thing["bridge"], thing["job"], intact=not why, why=why)
