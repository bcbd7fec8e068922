"""Machines that become nodes, and what nodes that were away have to catch up with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable
from covey.model.node import Node, split
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.requests.firewall import AddFirewall
from covey.model.requests.image import AddImage
from covey.model.requests.instance import AddInstance
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.requests.node import EquipNode, InviteNode, JoinNode, ModifyNode, RemoveNode
from covey.model.steps.image import EnsureImageBrought
from covey.model.steps.node import EnsureListening
from covey.model.token import INVITED, Token
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, NOW, a_cluster, a_disk, a_network, a_nic, a_node, an_id, an_image, an_instance, asked

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


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"name": "n2"}, "name is taken"), ({"address": "10.0.0.2"}, "listens"), ({"storage_address": "10.0.0.2"}, "listens")],
)
def test_no_node_becomes_another(changes: dict[str, str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        of(a_cluster(nodes=2), ModifyNode(node="n1", **changes))  # type: ignore[arg-type]


def recorded(made: Plan) -> Node:
    (write,) = made.success
    assert write.record
    return replace(a_node("n2"), **{field: write.record[field] for field in write.fields})


def test_a_node_gets_another_name_and_nothing_else_changes() -> None:
    made = of(a_cluster(nodes=2), ModifyNode(node="n2", name="db", notes="rack 2"))
    assert (made.steps, recorded(made).name, recorded(made).address) == ((), "db", a_node("n2").address)
    assert of(a_cluster(nodes=2), ModifyNode(node="n2", name="n2", notes="")).success == ()


@pytest.mark.parametrize(
    ("wish", "address"),
    [
        ("10.0.5.2", "10.0.5.2:7444"),
        ("10.0.5.2:7555", "10.0.5.2:7555"),
        ("FD00:0::2", "[fd00::2]:7444"),
        ("[fd00::2]", "[fd00::2]:7444"),
        ("[fd00:0::2]:7555", "[fd00::2]:7555"),
    ],
)
def test_an_agent_listens_at_a_new_address_before_that_is_recorded(wish: str, address: str) -> None:
    request = ModifyNode(node="n2", address=wish)
    request.check()
    made = of(a_cluster(nodes=2), request)
    assert made.steps == (EnsureListening(node=N2, address=address),)
    assert recorded(made).address == address
    assert any("10.0.0.2:7444" in reason for reason in made.reasons), "the way back"


def test_on_a_second_network_it_listens_at_the_port_of_the_first() -> None:
    made = of(a_cluster(nodes=2), ModifyNode(node="n2", storage_address="10.1.0.2"))
    assert made.steps == (EnsureListening(node=N2, address="10.1.0.2:7444"),)
    node = recorded(made)
    assert (node.storage_address, node.doors) == ("10.1.0.2", ("10.0.0.2:7444", "10.1.0.2:7444"))
    view = a_cluster(nodes=2, extra=[node])
    assert of(view, ModifyNode(node="n2", address="10.0.0.2:7555")).steps == tuple(
        EnsureListening(node=N2, address=f"{host}:7555") for host in ("10.0.0.2", "10.1.0.2")
    )
    gone = of(view, ModifyNode(node="n2", storage_address=""))
    assert (gone.steps, recorded(gone).doors) == ((), ("10.0.0.2:7444",))


def test_a_node_that_was_given_another_address_by_hand_is_looked_for_there() -> None:
    made = of(without_answer(a_cluster(nodes=2), N2), ModifyNode(node="n2", address="10.0.5.2"))
    assert (made.steps, recorded(made).address) == ((), "10.0.5.2:7444")
    assert any("10.0.5.2:7444" in warning for warning in made.warnings)


def test_a_machine_that_listens_for_nobody_has_no_address_to_change() -> None:
    alone = a_cluster(extra=[replace(a_node(), address="")])
    with pytest.raises(Refused, match="listens for nobody"):
        of(alone, ModifyNode(node="n1", address="10.0.5.2"))
    assert of(alone, ModifyNode(node="n1", storage_address="10.1.0.1")).steps == (), "it is kept for later"


@pytest.mark.parametrize(
    "wrong", [{"address": "n2.example"}, {"address": "0.0.0.0"}, {"address": "10.0.0.2:0"}, {"storage_address": "10.1.0.2:7444"},
              {"storage_address": "::"}, {"storage_address": "fe80::1%eth0"}, {"name": "N 2"}],
)  # fmt: skip
def test_what_can_be_no_address_or_name_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        ModifyNode(node="n2", **wrong).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mine", "theirs", "door"),
    [
        ("10.1.0.1", "10.1.0.2", "10.1.0.1:7444"),
        ("fd01::1", "fd01::2", "[fd01::1]:7444"),
        ("10.1.0.1", "", "10.0.0.1:7444"),
        ("", "10.1.0.2", "10.0.0.1:7444"),
        ("10.1.0.1", "fd01::2", "10.0.0.1:7444"),
    ],
)
def test_copies_go_by_the_second_network_when_both_nodes_are_on_it(mine: str, theirs: str, door: str) -> None:
    one, other = replace(a_node("n1"), storage_address=mine), replace(a_node("n2"), storage_address=theirs)
    assert (one.door_for(other), one.host_for(other)) == (door, split(door)[0])
    view = a_cluster(nodes=2, extra=[one, other])
    steps = of(view, AddInstance(name="new", image="debian-12", node="n2", nics=())).steps
    assert [step.address for step in steps if isinstance(step, EnsureImageBrought)] == [door]


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


@pytest.mark.parametrize("kind", ["nat", "isolated", "adopted"])
def test_guests_of_one_network_on_two_nodes_are_told_when_they_do_not_reach_each_other(kind: str) -> None:
    network = replace(a_network(), nat=kind == "nat", isolated=kind == "isolated", adopted=kind == "adopted")
    web = an_instance("web1", nics=(a_nic(),))
    view = a_cluster(nodes=2, networks=[network], instances=[web])
    warned = [bool(of(view, AddInstance(name="new", node=node)).warnings) for node in ("n1", "n2")]
    assert warned == [False, kind != "adopted"]
