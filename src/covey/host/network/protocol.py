"""What a machine does for guests' networks."""

from __future__ import annotations

from typing import Protocol

from covey.model.network import FoundNetwork, Network


class Networks(Protocol):
    async def ensure_network(self, network: Network, job: str) -> None:
        """The bridge exists with the gateway's address, forwards, and (with nat) hides the subnet behind the machine's addresses.
        Raises Refused when an interface of that name is not Covey's or the subnet is already in use on this machine."""
        ...

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        """Neither the bridge nor any rule for it is left. With `job`, only if it carries that job's tag."""
        ...

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        """Every bridge of Covey's here; those among `wanted` are compared with their record."""
        ...
