"""What a machine gets so that it carries a controller when several share the store; and the ports on which they share it."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTROLLERS, CLIENTS, MEMBERS = 1, 2, 3  # ports after the agent's: for other controllers, for etcd's clients, for its members


@dataclass(frozen=True, slots=True)
class Seat:
    """A member of etcd as its node is to start it. `id` is its name in etcd, its own and no other's, ever: what one before it has left is
    not taken for its data. `cluster` names the members that it first looks for ("NAME=URL,...")."""

    id: str
    cluster: str
    is_first: bool = False  # it makes the cluster; others come to one that is there


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one node. It holds keys: it goes to its agent over mutual TLS, and is never shown. `endpoints` (HOST:PORT) is where
    etcd's voters take clients."""

    authority: str  # certificate, PEM
    authority_key: str = field(repr=False)
    store_authority: str
    store_authority_key: str = field(repr=False)
    endpoints: tuple[str, ...]
    seat: Seat | None = None  # None: no member of etcd runs there


@dataclass(frozen=True, slots=True)
class Peer:
    """A member of etcd. `url` is where the others reach it. `name` is "" until it has come for the first time."""

    id: int
    url: str
    name: str
    votes: bool

    @property
    def seat(self) -> str:
        """Its name, or what is to be its name when it comes."""
        return self.name or f"{self.id:x}"


def beside(address: str, distance: int) -> str:
    """HOST:PORT, so many ports after an agent's."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + distance}"
