"""Machines that become nodes, and what nodes that were away have to catch up with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import NoSpace, NotFound, Refused, Unavailable
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.requests.firewall import AddFirewall
from covey.model.requests.image import AddImage
from covey.model.requests.instance import AddInstance
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.requests.node import EquipNode, InviteNode, JoinNode, RemoveNode
from covey.model.token import INVITED, Token
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, NOW, a_cluster, a_disk, a_network, a_node, an_id, an_image, an_instance, asked

N1, N2, N3 = (an_id(f"node/n{number}") for number in (1, 2, 3))
INVITATION = Token("join-1", INVITED, "0" * 64, NOW, NOW + 3600)


def of(view: ClusterView, request: Request) -> Plan:
    return plan(view, asked(request))


def joining(**changes: str) -> JoinNode:
    told: dict[str, Any] = {
        "id": N3,
        "name": "n3",
        "address": "10.0.0.3:7444",
        "signing_request": "PEM",
        "invitation": "join-1",
        **changes,
    }
    return JoinNode(**told)


def without_answer(view: ClusterView, node: str) -> ClusterView:
    return view.with_telemetry(node, None)


def nodes_written(made: Plan) -> dict[str, str]:
    """By name: the state in which a plan leaves nodes."""
    found = [write.record for write in made.success if write.record and write.key.startswith("state/node/")]
    return {record["name"]: record["state"] for record in found}


def test_an_invitation_lets_in_as_nothing_but_a_node_and_for_an_hour() -> None:
    (write,) = of(a_cluster(), InviteNode(digest="0" * 64)).success
    assert write.record
    assert (write.record["role"], write.record["expires_at"]) == (INVITED, NOW + 3600)


def test_whoever_joins_uses_up_the_invitation_and_hosts_nothing_yet() -> None:
    made = of(a_cluster(extra=[INVITATION]), joining())
    assert nodes_written(made) == {"n3": "joining"}
    assert [write.key for write in made.success if write.record is None] == ["state/token/join-1"]
    with pytest.raises(NotFound):
        of(a_cluster(), joining())


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"id": N1}, "a node already"), ({"name": "n1"}, "name is taken"), ({"address": "10.0.0.2:7444"}, "listens")],
)
def test_no_two_nodes_are_one(changes: dict[str, str], why: str) -> None:
    there = replace(a_node("n2"), address="10.0.0.2:7444")
    with pytest.raises(Refused, match=why):
        of(a_cluster(extra=[INVITATION, there]), joining(**changes))


def test_equipping_gives_a_node_all_pools_networks_and_firewalls_and_makes_it_host() -> None:
    view = a_cluster(nodes=2, networks=[a_network()], extra=[replace(a_node("n2"), state="behind")])
    made = of(view, EquipNode(node="n2"))
    assert {step.node for step in made.steps} == {N2}
    assert {"pool", "network"} <= {step.kind.partition("@")[0] for step in made.steps}
    assert nodes_written(made) == {"n2": "ready"}
    with pytest.raises(Unavailable):
        of(without_answer(view, N2), EquipNode(node="n2"))


@pytest.mark.parametrize(
    "request_", [AddNetwork(name="new", subnet="10.8.0.0/24"), AddFirewall(name="new")], ids=["network", "firewall"]
)
def test_a_node_that_does_not_answer_catches_up_later_and_holds_up_nobody(request_: Request) -> None:
    made = of(without_answer(a_cluster(nodes=2), N2), request_)
    assert {step.node for step in made.steps} == {N1}
    assert nodes_written(made) == {"n2": "behind"}
    assert any("n2 does not answer" in warning for warning in made.warnings)


def test_what_is_to_be_nowhere_any_more_waits_for_every_node() -> None:
    with pytest.raises(Unavailable, match="n2"):
        of(without_answer(a_cluster(nodes=2, networks=[a_network()]), N2), RemoveNetwork(network="lan"))


@pytest.mark.parametrize("state", ["joining", "behind"])
def test_nothing_new_is_hosted_by_a_node_that_lacks_something(state: str) -> None:
    view = a_cluster(nodes=2, extra=[replace(a_node("n1"), state=state)])
    assert {step.node for step in of(view, AddInstance(name="new", memory=GIB)).steps} == {N2}


def test_only_a_node_with_nothing_on_it_is_removed_and_never_the_last() -> None:
    with pytest.raises(Refused, match="only node"):
        of(a_cluster(), RemoveNode(node="n1"))
    with pytest.raises(Refused, match="hosts web1"):
        of(a_cluster(nodes=2, instances=[an_instance(disks=(a_disk(),))]), RemoveNode(node="n1"))
    with pytest.raises(Refused, match="lie there"):
        of(a_cluster(nodes=2, images=[replace(an_image(), node=N2)]), RemoveNode(node="n2"))
    assert of(a_cluster(nodes=2), RemoveNode(node="n2")).success


def test_an_image_is_made_on_a_node_that_answers() -> None:
    made = of(without_answer(a_cluster(nodes=2), N1), AddImage(name="new", source="/srv/new.raw"))
    assert [step.node for step in made.steps] == [N2]
    assert made.success[0].record
    assert made.success[0].record["node"] == N2


def test_whoever_names_a_node_gets_that_or_hears_why_not() -> None:
    view = a_cluster(nodes=2, extra=[replace(a_node("n3"), state="joining")])
    assert {step.node for step in of(view, AddInstance(name="new", node="n2")).steps} == {N2}
    with pytest.raises(Refused, match="joining"):
        of(view, AddInstance(name="new", node="n3"))
    with pytest.raises(NotFound):
        of(view, AddInstance(name="new", node="n9"))
    with pytest.raises(Unavailable, match="does not answer"):
        of(without_answer(view, N2), AddInstance(name="new", node="n2"))
    with pytest.raises(NoSpace):
        of(a_cluster(nodes=2, memory=2 * GIB), AddInstance(name="new", node="n2", memory=4 * GIB))
