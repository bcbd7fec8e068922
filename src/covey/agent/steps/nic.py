"""Steps on NICs."""

from __future__ import annotations

from covey.agent.work import Work, carries_out, takes_back
from covey.host import domains
from covey.model.steps.nic import EnsureFiltered, EnsureFiltersIntact, EnsureNicAttached, EnsureNicDetached, EnsureNicSet

UNDO_DETACH_TIMEOUT_S = 30.0


@carries_out(EnsureNicAttached)
async def ensure_attached(work: Work, step: EnsureNicAttached) -> None:
    await work.host.hypervisor.ensure_nic_attached(step.instance, step.nic)


@takes_back(EnsureNicAttached)
async def undo_attached(work: Work, step: EnsureNicAttached) -> None:
    await work.host.hypervisor.ensure_nic_detached(step.instance, step.nic.index, UNDO_DETACH_TIMEOUT_S)


@carries_out(EnsureNicSet)
async def ensure_set(work: Work, step: EnsureNicSet) -> None:
    await work.host.hypervisor.ensure_nic_set(step.instance, step.nic)


@takes_back(EnsureNicSet)
async def undo_set(work: Work, step: EnsureNicSet) -> None:
    await work.host.hypervisor.ensure_nic_set(step.instance, step.before)


@carries_out(EnsureNicDetached)
async def ensure_detached(work: Work, step: EnsureNicDetached) -> None:
    await domains.ensure_nic_detached(work.host, step.instance, step.nic, step.timeout_s)


@carries_out(EnsureFiltered)
async def ensure_filtered(work: Work, step: EnsureFiltered) -> None:
    await work.host.filters.ensure_filtered(step.instance, step.filters, work.job)


@takes_back(EnsureFiltered)
async def undo_filtered(work: Work, step: EnsureFiltered) -> None:
    await work.host.filters.ensure_filtered(step.instance, step.before, work.job)


@carries_out(EnsureFiltersIntact)
async def ensure_filters_intact(work: Work, step: EnsureFiltersIntact) -> None:
    await work.host.filters.ensure_intact()
