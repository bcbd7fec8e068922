"""What a machine does to keep guests to their addresses and rules."""

from __future__ import annotations

from typing import Protocol

from covey.model.filter import Filter, FoundFilters, Rule


class Filters(Protocol):
    """All calls raise BadInput for what `check_filter` and `check_rule` do not let pass. What is ensured is kept on this machine, too, so
    that it can be made again without being told; it holds from before a NIC's first packet, as its interface's name is known."""

    async def ensure_filtered(self, instance: str, filters: tuple[Filter, ...], job: str) -> None:
        """The NICs of the instance are filtered so, and it has no other filters; tagged with `job`. Without `filters` nothing of it is
        left. Raises NotFound for a firewall that is not here."""
        ...

    async def ensure_unfiltered(self, instance: str, nic: int | None = None) -> None:
        """Nothing is left of the filter of that NIC, or of any of the instance's."""
        ...

    async def ensure_firewall(self, firewall: str, rules: tuple[Rule, ...], job: str) -> None:
        """All NICs that have this firewall are under these rules from now on."""
        ...

    async def ensure_firewall_absent(self, firewall: str, job: str = "") -> None:
        """Nothing of it is left. With `job`, only if that job made it. Raises Refused while a NIC has it."""
        ...

    async def kept(self, instance: str) -> tuple[Filter, ...]:
        """The filters that the instance's NICs have here."""
        ...

    async def filters(self) -> FoundFilters:
        """All that is kept here, and whether the packet rules are as they should be."""
        ...

    async def ensure_intact(self) -> str:
        """The packet rules are what is kept. Returns what differed, "" for nothing."""
        ...
