"""Steps on networks."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.network import Network
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetwork(Step, kind="network@1", role=UNDOABLE):
    """The network's bridge exists on the node, with gateway addresses, packet rules, forwarded ports and routes to guests as told; an
    adopted bridge is there. Taken back, it is as in `before`, or gone when the job made it."""

    network: Network
    before: Network | None = None

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        ports = ", ".join(f"{entrance.protocol}/{entrance.port}" for entrance in self.network.entrances)
        return self._titled(f"ports {ports}" if ports else "")

    @property
    def effect(self) -> str:
        """Ports that lead to others come and go with those."""
        before = self.before.entrances if self.before else ()
        lost = [f"-{entrance}" for entrance in before if entrance not in self.network.entrances]
        won = [f"+{entrance}" for entrance in self.network.entrances if entrance not in before]
        return self._titled(" ".join((*lost, *won)))

    def _titled(self, ports: str) -> str:
        network = self.network
        if network.adopted:
            return f"bridge {network.bridge} of the site is there"
        gateways = " and ".join(gateway for gateway in (network.gateway, network.gateway6) if gateway)
        parts = [gateways, "NAT" if network.type == "nat" else "", ports]
        return f"bridge {network.bridge} with {', '.join(filter(None, parts)) or 'no address'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureRouted(Step, kind="routed@1", role=UNDOABLE):
    """The node leads packets for these addresses of a guest to the network's bridge, one by one, and answers for them on the uplink if
    the network has one. Taken back only when the instance is `new`."""

    network: Network
    instance: str
    addresses: tuple[str, ...]
    new: bool

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"routes to {' and '.join(self.addresses)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureRouteFollows(Step, kind="route-follows@1", role=FORWARD):
    """As routes to a guest, on the node where it has come to: from here on it answers for these addresses."""

    network: Network
    instance: str
    addresses: tuple[str, ...]

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"routes to {' and '.join(self.addresses)} follow the guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNotRouted(Step, kind="not-routed@1", role=FORWARD):
    """The node leads packets for these addresses nowhere, and answers for none of them."""

    network: Network
    instance: str
    addresses: tuple[str, ...]

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"no routes to {' and '.join(self.addresses)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetworkAbsent(Step, kind="network-absent@1", role=FORWARD):
    """Neither the network's bridge nor a rule for it is left on the node; an adopted bridge stays as it is."""

    network: Network

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"bridge {self.network.bridge} removed"
