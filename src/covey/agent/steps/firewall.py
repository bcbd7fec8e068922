"""Steps on firewalls."""

from __future__ import annotations

from covey.agent.work import Work, carries_out, takes_back
from covey.host import domains
from covey.model.steps.firewall import EnsureFirewall, EnsureFirewallAbsent


@carries_out(EnsureFirewall)
async def ensure_firewall(work: Work, step: EnsureFirewall) -> None:
    await work.host.filters.ensure_firewall(step.firewall, step.rules, work.job)


@takes_back(EnsureFirewall)
async def undo_firewall(work: Work, step: EnsureFirewall) -> None:
    await domains.take_back_firewall(work.host, step.firewall, step.before, work.job)


@carries_out(EnsureFirewallAbsent)
async def ensure_firewall_absent(work: Work, step: EnsureFirewallAbsent) -> None:
    await work.host.filters.ensure_firewall_absent(step.firewall)
