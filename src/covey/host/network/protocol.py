"""What a machine does for guests' networks."""

from __future__ import annotations

from typing import Protocol

from covey.model.network import Arrival, FoundNetwork, Interfaces, Network


class Networks(Protocol):
    """All calls raise BadInput for a network that `check_network` does not let pass, Unavailable when this process
    may not change the machine's network."""

    async def ensure_network(self, network: Network, job: str) -> None:
        """The bridge exists with the gateway's address and no other, forwards, and (with nat) hides the subnet behind
        the machine's addresses; its ports and routes lead to the guests that it names and to no other; tagged with
        `job` if it is new. What was changed by hand (rules flushed, address or bridge removed) is repaired. A bridge to
        adopt is there, and left as it is.
        Raises Refused when an interface of that name is not Covey's (or, to adopt, is Covey's, no bridge, or down), the
        subnet is already in use on this machine, or the uplink is not there."""
        ...

    async def ensure_joined(self, network: Network, taps: tuple[str, ...]) -> None:
        """These interfaces of running guests are on the network's bridge, which is there: one that was made anew has lost them. Those that
        are gone went with their guests."""
        ...

    async def ensure_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        """These addresses of guests lead to the network's bridge, and the uplink, if it has one, answers for them, and has said so. Raises Refused when
        bridge or uplink are not there."""
        ...

    async def ensure_not_routed(self, network: Network, addresses: tuple[str, ...]) -> None:
        """These addresses lead nowhere, and nothing answers for them."""
        ...

    async def ensure_absent(self, network: Network, job: str = "") -> None:
        """Neither the bridge nor any rule or route for it is left; an adopted one stays. With `job`, only if it carries that job's tag. An interface
        of that name that is not this network's is left alone. Raises Refused while guests are on the bridge."""
        ...

    async def announce(self, arrivals: tuple[Arrival, ...]) -> None:
        """Guests began to run here: their bridges, and uplinks where this machine answers for them, are told where their addresses are, and
        they themselves where their gateway is. Interfaces that are gone, or on no bridge, are passed over."""
        ...

    async def interfaces(self) -> Interfaces:
        """What the machine has of its own to link networks to."""
        ...

    async def networks(self, wanted: tuple[Network, ...]) -> tuple[FoundNetwork, ...]:
        """Every bridge of this node's Covey here, and the adopted ones of `wanted`; those among `wanted` are compared with their record, the others are not
        intact for want of one. Rules that lost their bridge are listed too, with bridge ""."""
        ...
