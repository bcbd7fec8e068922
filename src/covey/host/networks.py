"""Facts of this machine about networks: what of them belongs together, and what taking one back leaves."""

from __future__ import annotations

from covey.host.host import Host
from covey.model.network import Network


async def ensure_network(host: Host, network: Network, job: str) -> None:
    """The network is there, with the running guests that belong on it."""
    await host.networks.ensure_network(network, job)
    await host.networks.ensure_joined(network, await host.hypervisor.taps(network.bridge))


async def take_back_network(host: Host, network: Network, before: Network | None, job: str) -> None:
    """As it was before, or, if it was not, nothing of it that this job made."""
    if before:
        await host.networks.ensure_network(before, job)
    else:
        await host.networks.ensure_absent(network, job)


async def take_back_routes(host: Host, network: Network, addresses: tuple[str, ...], new: bool) -> None:
    """No route to these addresses, unless they had one before."""
    if new:
        await host.networks.ensure_not_routed(network, addresses)
