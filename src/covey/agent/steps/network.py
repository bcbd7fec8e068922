"""Steps on networks."""

from __future__ import annotations

from covey.agent.work import Work, carries_out, takes_back
from covey.host import networks
from covey.model.steps.network import EnsureNetwork, EnsureNetworkAbsent, EnsureNotRouted, EnsureRouted, EnsureRouteFollows


@carries_out(EnsureNetwork)
async def ensure_network(work: Work, step: EnsureNetwork) -> None:
    await networks.ensure_network(work.host, step.network, work.job)


@takes_back(EnsureNetwork)
async def undo_network(work: Work, step: EnsureNetwork) -> None:
    await networks.take_back_network(work.host, step.network, step.before, work.job)


@carries_out(EnsureRouted)
async def ensure_routed(work: Work, step: EnsureRouted) -> None:
    await work.host.networks.ensure_routed(step.network, step.addresses)


@takes_back(EnsureRouted)
async def undo_routed(work: Work, step: EnsureRouted) -> None:
    await networks.take_back_routes(work.host, step.network, step.addresses, step.new)


@carries_out(EnsureRouteFollows)
async def ensure_route_follows(work: Work, step: EnsureRouteFollows) -> None:
    await work.host.networks.ensure_routed(step.network, step.addresses)


@carries_out(EnsureNotRouted)
async def ensure_not_routed(work: Work, step: EnsureNotRouted) -> None:
    await work.host.networks.ensure_not_routed(step.network, step.addresses)


@carries_out(EnsureNetworkAbsent)
async def ensure_network_absent(work: Work, step: EnsureNetworkAbsent) -> None:
    await work.host.networks.ensure_absent(step.network)
