"""Who keeps the records: which nodes have a member of etcd, and the one next change that brings the members to that. Pure.

One change at a time, and only while all members answer that are to stay: so the members that are left can always go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from covey.model.node import Node
from covey.model.sharing import MEMBERS, Peer, beside
from covey.model.view import ClusterView

MOST_VOTES = 5
_COUNTS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}  # of nodes, and of votes: an even number of more than two helps nobody


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may have a seat. `carries` is None while it says nothing."""

    node: str
    url: str
    since: float
    carries: bool | None


@dataclass(frozen=True, slots=True)
class Change:
    """`do` is add, promote or remove; `peer` whom it is about, None for one to be added at `url`."""

    do: str
    url: str
    peer: Peer | None = None


def most_seats(nodes: int) -> int:
    """How many of so many nodes have a seat."""
    return _COUNTS.get(nodes, MOST_VOTES)


def url_of(address: str) -> str:
    """Where the member of the node is whose agent listens there."""
    return f"https://{beside(address, MEMBERS)}"


def candidates(view: ClusterView) -> tuple[Candidate, ...]:
    """All nodes that could have a seat, the oldest first."""
    found = []
    for node in view.all("node", Node):
        told = view.telemetry.get(node.id)
        if node.address and (told is None or told.carries_store):
            carries = None if told is None else node.state != "joining"
            found.append(Candidate(node.id, url_of(node.address), node.created_at, carries))
    return tuple(sorted(found, key=lambda one: (one.since, one.node)))


def has_company(view: ClusterView, own: str) -> bool:
    """Whether this machine and another one, at least, can share the store."""
    able = [one.node for one in candidates(view) if one.carries]
    return own in able and len(able) > 1


def seated(nodes: Collection[Candidate], peers: Collection[Peer]) -> tuple[Candidate, ...]:
    """Who is to have a seat: those that have one stay, as far as there is room."""
    urls = {peer.url for peer in peers}
    able = [one for one in nodes if one.carries or one.url in urls]
    count = most_seats(len(able))
    order = sorted(able, key=lambda one: (one.carries is None, one.url not in urls, one.since, one.node))
    return tuple(order[:count])


def next_change(nodes: Collection[Candidate], peers: Collection[Peer], silent: Collection[str]) -> Change | None:
    """What to do now; None when all is as it should be, or nothing can be done safely. `silent` are the URLs of voters that do not answer."""
    wanted = {one.url for one in seated(nodes, peers)}
    for peer in peers:
        if peer.url not in wanted:
            left = [one for one in peers if one.votes and one is not peer]
            if not peer.votes or _go_on(left, silent):
                return Change("remove", peer.url, peer)
    for peer in peers:
        if not peer.votes:
            return Change("promote", peer.url, peer)  # which etcd refuses until it has come and has nearly everything
    missing = sorted(wanted - {peer.url for peer in peers})
    if missing and not any(peer.url in silent for peer in peers):
        ranked: Mapping[str, tuple[float, str]] = {one.url: (one.since, one.node) for one in nodes}
        return Change("add", min(missing, key=lambda url: ranked[url]))
    return None


def _go_on(voters: Collection[Peer], silent: Collection[str]) -> bool:
    """Whether these have a majority of themselves that answers."""
    return sum(one.url not in silent for one in voters) * 2 > len(voters)


def is_alone(nodes: Collection[Candidate], peers: Collection[Peer], own: str) -> bool:
    """Whether the records may be this machine's own again: no other node can have them, nor is silent and might."""
    return {peer.url for peer in peers} == {own} and {one.url for one in nodes} == {own}
