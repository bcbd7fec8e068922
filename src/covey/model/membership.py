"""What a machine knows of the cluster that it belongs to, without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.node import with_host


@dataclass(frozen=True, slots=True)
class Membership:
    """Kept by a node's agent in a file. `cluster` is the cluster's id, `name` the node's. `address` (HOST:PORT) is where the agent listens for
    leaders, `storage_address` its IP address on a second network, where it listens at the same port, and `also` where else it listens for the
    time being; `nodes` are the ids of the cluster's nodes, of which only it takes orders; `doors` are the API's addresses, HOST:PORT. On
    the machine that the cluster began on, `is_first` holds: its store is there."""

    cluster: str
    cluster_name: str
    name: str
    address: str
    nodes: tuple[str, ...]
    doors: tuple[str, ...] = ()
    is_first: bool = False
    storage_address: str = ""
    also: tuple[str, ...] = ()

    @property
    def listens_at(self) -> tuple[str, ...]:
        """All of its agent's addresses, the one for leaders first."""
        storage = (with_host(self.address, self.storage_address),) if self.storage_address else ()
        return tuple(dict.fromkeys((self.address, *storage, *self.also)))

    def __str__(self) -> str:
        return f"node {self.name} of cluster {self.cluster_name}"
