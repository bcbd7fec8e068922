"""What a machine knows of the cluster that it belongs to, without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Membership:
    """Kept by a node's agent in a file. `cluster` is the cluster's id, `name` the node's. `address` (HOST:PORT) is where the agent listens for
    leaders; `nodes` are the ids of the cluster's nodes, of which only it takes orders; `doors` are the API's addresses, HOST:PORT. On
    the machine that the cluster began on, `is_first` holds: its store is there."""

    cluster: str
    cluster_name: str
    name: str
    address: str
    nodes: tuple[str, ...]
    doors: tuple[str, ...] = ()
    is_first: bool = False

    def __str__(self) -> str:
        return f"node {self.name} of cluster {self.cluster_name}"
