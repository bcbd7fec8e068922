"""Steps on networks."""

from __future__ import annotations

from covey.agent.work import Work, carries_out, takes_back
from covey.model.steps.network import EnsureNetwork, EnsureNetworkAbsent


@carries_out(EnsureNetwork)
async def ensure_network(work: Work, step: EnsureNetwork) -> None:
    await work.host.networks.ensure_network(step.network, work.job)
    await work.host.networks.ensure_joined(step.network, await work.host.hypervisor.taps(step.network.bridge))


@takes_back(EnsureNetwork)
async def undo_network(work: Work, step: EnsureNetwork) -> None:
    await work.host.networks.ensure_absent(step.network, work.job)


@carries_out(EnsureNetworkAbsent)
async def ensure_network_absent(work: Work, step: EnsureNetworkAbsent) -> None:
    await work.host.networks.ensure_absent(step.network)
