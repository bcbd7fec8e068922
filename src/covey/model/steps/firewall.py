"""Steps on firewalls."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.filter import Rule
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOnFirewall(Step):
    """What the steps on one firewall share: its id."""

    firewall: str

    @property
    def object(self) -> str:
        return f"firewall/{self.firewall}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFirewall(StepOnFirewall, kind="firewall@1", role=UNDOABLE):
    """The node has the firewall with these rules, and its NICs that have it are under them. Taken back, it has the rules `before`, or is
    gone if there were none."""

    rules: tuple[Rule, ...]
    before: tuple[Rule, ...] | None

    @property
    def title(self) -> str:
        return f"firewall of {len(self.rules)} rule{'' if len(self.rules) == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFirewallAbsent(StepOnFirewall, kind="firewall-absent@1", role=FORWARD):
    """Nothing of the firewall is left on the node."""

    @property
    def title(self) -> str:
        return "firewall removed"
