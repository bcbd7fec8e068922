"""Which nodes have a member of etcd, and how it comes to that: one change at a time, never at the price of the majority."""

from __future__ import annotations

import itertools

import pytest

from covey.controller.seats import Candidate, Change, is_alone, next_change, seated
from covey.model.sharing import Peer


def nodes(count: int, silent: tuple[int, ...] = ()) -> list[Candidate]:
    return [Candidate(f"n{n}", f"u{n}", float(n), None if n in silent else True) for n in range(1, count + 1)]


def peer(number: int, votes: bool = True, name: str = "m") -> Peer:
    return Peer(number, f"u{number}", name, votes)


def grown(count: int, peers: list[Peer], nodes_: list[Candidate] | None = None) -> list[Peer]:
    """The members when nothing is to be done any more."""
    peers = list(peers)
    for _ in range(30):
        change = next_change(nodes_ or nodes(count), peers, ())
        if change is None:
            return peers
        if change.do == "add":
            peers.append(Peer(int(change.url[1:]), change.url, "m", False))
        elif change.do == "promote":
            peers = [Peer(one.id, one.url, "m", True) if one is change.peer else one for one in peers]
        else:
            peers = [one for one in peers if one is not change.peer]
    raise AssertionError("it never ends")


@pytest.mark.parametrize(("count", "votes"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (40, 5)])
def test_so_many_nodes_have_so_many_votes(count: int, votes: int) -> None:
    found = grown(count, [peer(1)])
    assert [one.url for one in found] == [f"u{n}" for n in range(1, votes + 1)]
    assert all(one.votes for one in found)


def test_who_has_a_seat_keeps_it_when_an_older_node_could_have_one() -> None:
    assert {one.node for one in seated(nodes(4), [peer(2), peer(3), peer(4)])} == {"n2", "n3", "n4"}


def test_a_silent_node_keeps_its_seat_and_gets_none() -> None:
    assert next_change(nodes(3, silent=(3,)), [peer(1), peer(2), peer(3)], ("u3",)) is None
    assert next_change(nodes(2, silent=(2,)), [peer(1)], ()) is None


def test_nobody_is_added_while_a_member_is_silent() -> None:
    assert next_change(nodes(3), [peer(1), peer(2)], ("u2",)) is None


def test_one_that_has_never_come_is_waited_for_and_given_up_with_its_node() -> None:
    learner = peer(2, votes=False, name="")
    assert next_change(nodes(3), [peer(1), learner], ()) == Change("promote", "u2", learner), "nobody else is added meanwhile"
    assert next_change(nodes(1), [peer(1), learner], ()) == Change("remove", "u2", learner)


def test_the_member_of_a_node_that_is_gone_goes_unless_the_rest_could_not_go_on() -> None:
    three = [peer(1), peer(2), peer(3)]
    assert next_change(nodes(2), three, ("u3",)) == Change("remove", "u3", three[2])
    assert next_change(nodes(2), three, ("u2",)) is None


@pytest.mark.parametrize("count", range(1, 8))
def test_no_change_ever_leaves_a_minority(count: int) -> None:
    """Over all nodes that are left, all members that are silent."""
    peers = [peer(n) for n in range(1, min(count, 5) + 1)]
    for left in itertools.chain.from_iterable(itertools.combinations(nodes(count), size) for size in range(1, count + 1)):
        for silent in itertools.chain.from_iterable(
            itertools.combinations([one.url for one in peers], size) for size in range(3)
        ):
            change = next_change(left, peers, silent)
            if change and change.do == "remove":
                after = [one for one in peers if one is not change.peer]
                assert sum(one.url not in silent for one in after) * 2 > len(after)
            assert not (change and change.do == "add" and silent)


def test_the_records_come_home_only_when_nobody_else_could_have_them() -> None:
    assert is_alone(nodes(1), [peer(1)], "u1")
    assert not is_alone(nodes(2), [peer(1)], "u1")
    assert not is_alone(nodes(2, silent=(2,)), [peer(1)], "u1")
    assert not is_alone(nodes(1), [peer(1), peer(2)], "u1")
