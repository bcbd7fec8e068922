"""One network, linked on each node to what that node has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import BadInput, NotFound, Refused
from covey.model.network import Link, Network
from covey.model.node import Node
from covey.model.request import Request
from covey.model.requests.instance import AddInstance
from covey.model.requests.network import AddNetwork, LinkWish, ModifyNetwork, RemoveNetwork
from covey.model.requests.nic import AddNic
from covey.model.requests.node import EquipNode
from covey.model.requests.repair import RepairNetwork
from covey.model.steps.instance import EnsureDefined
from covey.model.steps.network import EnsureNetwork, EnsureNetworkAbsent
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import a_cluster, a_network, a_nic, a_node, a_public_network, an_id, an_instance, asked
from tests.planner.test_instance import added, of, written

N1, N2, N3 = (an_id(f"node/n{number}") for number in (1, 2, 3))


def a_site(*links: Link, bridge: str = "br0", name: str = "site") -> Network:
    return replace(a_network(name), bridge=bridge, adopted=True, nat=False, links=links)


def having(view: ClusterView, **bridges: str) -> ClusterView:
    """The view of nodes (by name) that say which bridges of their own they have."""
    for name, there in bridges.items():
        id = an_id(f"node/{name}")
        own = tuple(there.split())
        view = view.with_telemetry(id, replace(view.telemetry[id], interfaces=("eth0", "lo", *own), bridges=own))
    return view


def wish(*links: tuple[str, str]) -> tuple[LinkWish, ...]:
    return tuple(LinkWish(node=node, interface=interface) for node, interface in links)


def told(view: ClusterView, request: Request) -> dict[str, str]:
    """By node: the bridge that it is told to have."""
    steps = plan(view, asked(request)).steps
    return {step.node: step.network.bridge for step in steps if isinstance(step, EnsureNetwork)}


def recorded(view: ClusterView, request: Request) -> Network:
    (network,) = written(of(view, request), "success").values()
    assert isinstance(network, Network)
    return network


ADOPT: dict[str, Any] = {"name": "site", "type": "adopted", "subnet": "10.78.0.0/24"}


def test_an_adopted_bridge_may_have_another_name_on_each_node_and_be_nowhere_on_some() -> None:
    view = a_cluster(nodes=3)
    request = AddNetwork(**ADOPT, bridge="br0", links=wish(("n2", "vmbr1"), ("n3", "none")))
    assert told(view, request) == {N1: "br0", N2: "vmbr1"}
    assert set(recorded(view, request).links) == {Link(N2, "vmbr1"), Link(N3, "")}


def test_without_a_usual_bridge_only_nodes_that_are_named_have_it() -> None:
    view = a_cluster(nodes=3)
    assert told(view, AddNetwork(**ADOPT, links=wish(("n2", "vmbr1")))) == {N2: "vmbr1"}


def test_an_uplink_may_have_another_name_on_each_node() -> None:
    view = a_cluster(nodes=2, networks=[])
    routed = replace(a_public_network(), links=(Link(N2, "enp3s0"),))
    steps = of(a_cluster(nodes=2, networks=[routed]), RepairNetwork(network="public")).steps
    assert {step.node: step.network.uplink for step in steps if isinstance(step, EnsureNetwork)} == {N1: "eth0", N2: "enp3s0"}
    with pytest.raises(BadInput, match="nothing of n2"):
        of(view, AddNetwork(name="x", subnet="10.9.0.0/24", links=wish(("n2", "enp3s0"))))
    with pytest.raises(NotFound):
        of(view, AddNetwork(name="x", subnet="10.9.0.0/24", links=wish(("n9", "none"))))


def test_a_guest_is_plugged_into_the_bridge_of_its_node() -> None:
    view = a_cluster(nodes=2, networks=[a_site(Link(N2, "vmbr1"))])
    made = of(view, AddInstance(name="new", image="debian-12", node="n2"))
    (domain,) = [step.domain for step in made.steps if isinstance(step, EnsureDefined)]
    assert [nic.bridge for nic in domain.nics] == ["vmbr1"]


@pytest.mark.parametrize("site", [a_site(Link(N1, "")), a_site()], ids=["by wish", "its bridge is missing"])
def test_an_instance_goes_where_its_network_is_and_the_plan_says_why(site: Network) -> None:
    view = having(a_cluster(nodes=2, networks=[site]), n1="", n2="br0")
    made = of(view, AddInstance(name="new", image="debian-12"))
    assert added(made).node == N2
    assert any("not n1: " in reason for reason in made.reasons)
    with pytest.raises(Refused, match="n1"):
        of(view, AddInstance(name="new", image="debian-12", node="n1"))
    free = replace(an_instance("web1"), node=N1, nics=())
    view = having(a_cluster(nodes=2, networks=[site], instances=[free]), n1="", n2="br0")
    with pytest.raises(Refused, match="n1"):
        of(view, AddNic(instance="web1", network="site"))


def test_an_instance_whose_network_is_nowhere_is_refused_with_the_reason() -> None:
    view = having(a_cluster(nodes=2, networks=[a_site()]), n1="", n2="")
    with pytest.raises(Refused, match="has no bridge br0"):
        of(view, AddInstance(name="new", image="debian-12"))


def test_a_node_that_does_not_say_what_it_has_is_believed_to_have_it() -> None:
    assert of(a_cluster(networks=[a_site()]), AddInstance(name="new", image="debian-12"))


def test_a_network_is_added_where_its_bridge_is_and_the_others_are_named() -> None:
    view = having(a_cluster(nodes=2), n1="br0", n2="vmbr0")
    made = of(view, AddNetwork(**ADOPT, bridge="br0"))
    assert [step.node for step in made.steps] == [N1]
    assert any("n2 has no bridge br0" in warning for warning in made.warnings)
    with pytest.raises(Refused, match="no bridge br7") as caught:
        of(view, AddNetwork(**ADOPT, bridge="br7"))
    assert "br0" in caught.value.hint


def test_a_link_that_is_asked_for_must_be_there() -> None:
    view = having(a_cluster(nodes=2, networks=[a_site()]), n1="br0", n2="vmbr0")
    with pytest.raises(Refused, match="n2 has no bridge br7") as caught:
        of(view, ModifyNetwork(network="site", links=wish(("n2", "br7"))))
    assert "vmbr0" in caught.value.hint
    assert told(view, ModifyNetwork(network="site", links=wish(("n2", "vmbr0")))) == {N2: "vmbr0"}


def test_links_change_and_go_back_to_usual() -> None:
    view = a_cluster(nodes=3, networks=[a_site(Link(N2, "vmbr1"), Link(N3, ""))])
    request = ModifyNetwork(network="site", links=wish(("n2", "usual"), ("n3", "br0"), ("n1", "none")))
    assert set(recorded(view, request).links) == {Link(N1, ""), Link(N3, "br0")}
    assert told(view, request) == {N2: "br0", N3: "br0"}
    assert of(view, ModifyNetwork(network="site", links=wish(("n2", "vmbr1")))).steps == ()


def test_what_covey_made_goes_from_a_node_that_is_to_have_it_no_more_and_comes_back() -> None:
    view = a_cluster(nodes=2)
    gone = of(view, ModifyNetwork(network="lan", links=wish(("n2", "none"))))
    assert [(type(step), step.node) for step in gone.steps] == [(EnsureNetworkAbsent, N2)]
    view = a_cluster(nodes=2, networks=[replace(a_network(), links=(Link(N2, ""),))])
    (step,) = of(view, ModifyNetwork(network="lan", links=wish(("n2", "usual")))).steps
    assert isinstance(step, EnsureNetwork)
    assert (step.node, step.before) == (N2, None), "taken back, it is gone again"


def test_no_guest_loses_its_network_by_a_link() -> None:
    web = an_instance("web1", nics=(a_nic(network=a_network("site")),))
    view = a_cluster(nodes=2, networks=[a_site()], instances=[web])
    for interface in ("none", "br1"):
        with pytest.raises(Refused, match="web1"):
            of(view, ModifyNetwork(network="site", links=wish(("n1", interface))))
    assert of(view, ModifyNetwork(network="site", links=wish(("n2", "none"), ("n1", "br0")))), "which is what it has"


def test_two_networks_share_no_bridge_on_any_node() -> None:
    view = a_cluster(nodes=2, networks=[a_site(Link(N2, "vmbr1"))])
    other: dict[str, Any] = {"name": "other", "type": "adopted", "subnet": "10.8.0.0/24"}
    assert told(view, AddNetwork(**other, links=wish(("n2", "br0")))) == {N2: "br0"}, "which is another bridge there"
    for links in (wish(("n1", "br0")), wish(("n2", "vmbr1"))):
        with pytest.raises(Refused, match="belongs to network site"):
            of(view, AddNetwork(**other, links=links))
    view = a_cluster(nodes=2, networks=[a_site(Link(N2, "vmbr1")), a_network("lan", "10.9.0")])
    with pytest.raises(Refused, match="belongs to network lan"):
        of(view, ModifyNetwork(network="site", links=wish(("n2", "cv-lan"))))


def test_a_node_that_joins_is_equipped_with_what_it_can_be_linked_to() -> None:
    nodes = [replace(a_node("n2"), state="joining")]
    view = having(a_cluster(networks=[a_site(), a_network("lan", "10.9.0")], extra=nodes), n1="br0", n2="")
    made = of(view, EquipNode(node="n2"))
    assert [step.network.name for step in made.steps if isinstance(step, EnsureNetwork)] == ["lan"]
    assert any("n2 has no bridge br0" in warning and "site" in warning for warning in made.warnings)
    (node,) = written(made, "success").values()
    assert isinstance(node, Node)
    assert node.state == "ready"


def test_a_network_is_repaired_and_removed_where_it_is() -> None:
    view = having(a_cluster(nodes=3, networks=[a_site(Link(N3, ""))]), n1="br0", n2="", n3="")
    assert told(view, RepairNetwork(network="site")) == {N1: "br0"}
    assert [step.node for step in of(view, RemoveNetwork(network="site")).steps] == [N1, N2]


@pytest.mark.parametrize(
    "links", [wish(("n1", "br0"), ("n1", "br1")), wish(("n1", "")), wish(("n1", "a b")), wish(("N 1", "br0"))]
)
def test_a_link_names_a_node_once_and_an_interface(links: tuple[LinkWish, ...]) -> None:
    with pytest.raises(BadInput):
        ModifyNetwork(network="site", links=links).check()
