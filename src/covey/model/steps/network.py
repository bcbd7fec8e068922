"""Steps on networks."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.network import Network
from covey.model.step import FORWARD, UNDOABLE, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetwork(Step, kind="network@1", role=UNDOABLE):
    """The network's bridge exists on the node with its gateway address, forwarding and NAT as the record says."""

    network: Network

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"bridge {self.network.bridge} with {self.network.gateway}" + (", NAT" if self.network.nat else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetworkAbsent(Step, kind="network-absent@1", role=FORWARD):
    """Neither the network's bridge nor a rule for it is left on the node."""

    network: Network

    @property
    def object(self) -> str:
        return f"network/{self.network.id}"

    @property
    def title(self) -> str:
        return f"bridge {self.network.bridge} removed"
