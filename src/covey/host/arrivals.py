"""Facts of this machine about guests that begin to run here: of what of theirs the wire is told."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from covey.host.host import Host
from covey.model.domain import tap_of
from covey.model.network import Arrival


async def announce(host: Host, instance: str) -> None:
    """The wires that the instance is on are told that its addresses are here."""
    filters = await host.filters.kept(instance)
    arrivals = (Arrival(tap_of(instance, one.index), one.mac, tuple(_hosts(one.addresses))) for one in filters)
    await host.networks.announce(tuple(arrivals))


def _hosts(addresses: Iterable[str]) -> Iterator[str]:
    """Single addresses: a network that a NIC may also use is behind the guest, not at it."""
    for text in addresses:
        network = ipaddress.ip_network(text)
        if network.prefixlen == network.max_prefixlen:
            yield str(network.network_address)
