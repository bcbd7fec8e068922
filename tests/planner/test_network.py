"""Verbs of networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, Refused
from covey.model.network import Network
from covey.model.requests.instance import AddInstance, NicWish, RemoveInstance, StartInstance
from covey.model.requests.network import AddNetwork, ModifyNetwork, RemoveNetwork
from covey.model.requests.repair import RepairNetwork
from covey.model.steps.instance import EnsureSeed
from covey.model.steps.network import EnsureNetwork, EnsureRouted
from tests.kit.builders import a_cluster, a_forward, a_network, a_nic, a_node, a_public_network, an_instance, an_ipv6_network
from tests.planner.test_instance import added, kinds, of, written


def test_a_network_is_made_on_every_node_with_the_first_address_as_its_gateway() -> None:
    made = of(a_cluster(nodes=3), AddNetwork(name="dmz", subnet="10.78.0.0/24"))
    assert kinds(made) == ["network"] * 3
    (network,) = written(made, "success").values()
    assert isinstance(network, Network)
    assert (network.gateway, network.pool, network.bridge) == ("10.78.0.1", ("10.78.0.2", "10.78.0.254"), "cv-dmz")


def test_a_network_may_have_either_family_or_both() -> None:
    made = of(a_cluster(), AddNetwork(name="dmz", subnet="10.78.0.0/24", subnet6="fd00:78::/64"))
    (network,) = written(made, "success").values()
    assert isinstance(network, Network)
    assert (network.subnet, network.nat, network.nat6) == ("10.78.0.0/24", True, False)
    assert (network.gateway6, network.pool6) == ("fd00:78::1", ("fd00:78::2", "fd00:78::ffff:ffff:ffff:ffff"))
    made = of(a_cluster(), AddNetwork(name="dmz", subnet6="FD00:78:0:0::/64", gateway6="fd00:78::ffff:ffff:ffff:ffff"))
    (network,) = written(made, "success").values()
    assert isinstance(network, Network)
    assert (network.subnet, network.gateway, network.pool, network.nat) == ("", "", ("", ""), False)
    assert (network.subnet6, network.pool6) == ("fd00:78::/64", ("fd00:78::1", "fd00:78::ffff:ffff:ffff:fffe"))


def test_ipv6_subnets_do_not_overlap() -> None:
    view = a_cluster(networks=[an_ipv6_network()])
    with pytest.raises(Refused, match="overlaps"):
        of(view, AddNetwork(name="dmz", subnet="10.78.0.0/24", subnet6="fd00:77::/120"))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (AddNetwork(name="x"), "subnet"),
        (AddNetwork(name="x", subnet6="10.0.0.0/24"), "subnet6"),
        (AddNetwork(name="x", subnet="fd00::/64"), "subnet"),
        (AddNetwork(name="x", subnet6="fe80::/64"), "subnet6"),
        (AddNetwork(name="x", subnet6="::1/120"), "subnet6"),
        (AddNetwork(name="x", subnet6="fd00::/127"), "subnet6"),
        (AddNetwork(name="x", subnet6="fd00::%a} drop; {/64"), "subnet6"),
        (AddNetwork(name="x", subnet="0.0.0.0/8"), "subnet"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="routed", gateway="224.0.0.1"), "gateway"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="routed", gateway="255.255.255.255"), "gateway"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="routed", gateway="127.0.0.1"), "gateway"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", dns=("224.0.0.1",)), "dns"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", dns=("0.0.0.0",)), "dns"),
        (AddNetwork(name="x", subnet6="fd00::/64", gateway6="fd00::"), "gateway6"),
        (AddNetwork(name="x", subnet6="fd00::/64", gateway6="fd01::1"), "gateway6"),
        (AddNetwork(name="x", subnet6="fd00::/64", gateway6="fd00::1%eth0"), "gateway6"),
        (AddNetwork(name="x", subnet6="fd00::/64", pool6_first="fd00::9", pool6_last="fd00::8"), "pool6_last"),
        (AddNetwork(name="x", subnet6="fd00::/64", gateway="10.0.0.1"), "gateway"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", nat6=True), "nat6"),
    ],
)
def test_a_family_that_cannot_be_is_refused_by_its_field(request_: AddNetwork, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        request_.check()
    assert caught.value.object == field


def test_guests_of_a_hidden_network_ask_the_name_servers_of_their_node_that_they_can_reach() -> None:
    view = a_cluster()
    told = replace(view.telemetry[a_node().id], resolvers=("192.0.2.53", "2001:db8::53"))
    view = view.with_telemetry(a_node().id, told)
    for request, servers in (
        (AddNetwork(name="a", subnet="10.78.0.0/24", subnet6="fd00:78::/64"), ("192.0.2.53",)),
        (AddNetwork(name="a", subnet6="fd00:78::/64", nat6=True), ("2001:db8::53",)),
        (AddNetwork(name="a", subnet6="fd00:78::/64"), ()),
        (AddNetwork(name="a", subnet="10.78.0.0/24", nat=False), ()),
    ):
        (network,) = written(of(view, request), "success").values()
        assert isinstance(network, Network)
        assert network.dns == servers


def test_a_gateway_at_the_end_leaves_the_beginning_to_guests() -> None:
    made = of(a_cluster(), AddNetwork(name="dmz", subnet="10.78.0.0/24", gateway="10.78.0.254"))
    (network,) = written(made, "success").values()
    assert isinstance(network, Network)
    assert network.pool == ("10.78.0.1", "10.78.0.253")


@pytest.mark.parametrize("subnet", ["10.77.0.0/24", "10.77.0.128/25", "10.0.0.0/8"])
def test_subnets_do_not_overlap(subnet: str) -> None:
    with pytest.raises(Refused, match="overlaps"):
        of(a_cluster(), AddNetwork(name="dmz", subnet=subnet))


def test_a_gateway_is_not_in_the_subnet_of_another_network() -> None:
    """The machine would reach that by two bridges, and every later change of either network fail."""
    outside = AddNetwork(name="dmz", subnet="10.78.0.0/24", type="routed", gateway="10.77.0.5")
    with pytest.raises(Refused, match=r"10\.77\.0\.5"):
        of(a_cluster(networks=[a_network()]), outside)
    (dmz,) = written(of(a_cluster(networks=[]), outside), "success").values()
    assert isinstance(dmz, Network)
    with pytest.raises(Refused, match=r"10\.77\.0\.5"):
        of(a_cluster(networks=[dmz]), AddNetwork(name="lan", subnet="10.77.0.0/24"))


def test_bridges_are_not_shared_and_two_networks_are_not_made_at_once() -> None:
    with pytest.raises(Refused, match="bridge"):
        of(a_cluster(), AddNetwork(name="dmz", subnet="10.78.0.0/24", bridge="cv-lan"))
    one, other = (of(a_cluster(), AddNetwork(name=name, subnet="10.78.0.0/24")) for name in ("a", "b"))
    assert one.uses.conflicts(other.uses)


def test_a_network_in_use_stays() -> None:
    with pytest.raises(Refused, match="web1"):
        of(a_cluster(instances=[an_instance(nics=(a_nic(),))]), RemoveNetwork(network="lan"))


def test_a_removed_network_waits_for_instances_that_are_being_put_on_it() -> None:
    adding = of(a_cluster(), AddInstance(name="new"))
    assert adding.uses.conflicts(of(a_cluster(), RemoveNetwork(network="lan")).uses)


# --- types ------------------------------------------------------------------------------------------------------------------------------
def made(request: AddNetwork) -> Network:
    (network,) = written(of(a_cluster(), request), "success").values()
    assert isinstance(network, Network)
    return network


def test_the_type_of_a_network_follows_from_what_is_hidden_unless_it_is_said() -> None:
    assert made(AddNetwork(name="x", subnet="10.78.0.0/24")).type == "nat"
    assert made(AddNetwork(name="x", subnet="10.78.0.0/24", nat=False)).type == "routed"
    assert made(AddNetwork(name="x", subnet6="fd00:78::/64")).type == "routed"
    assert made(AddNetwork(name="x", subnet6="fd00:78::/64", nat6=True)).type == "nat"
    assert made(AddNetwork(name="x", subnet="10.78.0.0/24", type="routed")).nat is False


def test_an_isolated_network_has_no_gateway_unless_one_is_given() -> None:
    isolated = made(AddNetwork(name="x", subnet="10.78.0.0/24", type="isolated"))
    assert (isolated.type, isolated.gateway, isolated.pool) == ("isolated", "", ("10.78.0.1", "10.78.0.254"))
    assert made(AddNetwork(name="x", subnet="10.78.0.0/24", type="isolated", gateway="10.78.0.1")).pool[0] == "10.78.0.2"
    assert made(AddNetwork(name="x", type="isolated")).families == ()


def test_guests_of_an_isolated_network_are_told_no_way_out() -> None:
    isolated = replace(a_network(), nat=False, isolated=True)
    plan = of(a_cluster(networks=[isolated]), AddInstance(name="new", image="debian-12"))
    (seed,) = (step.seed for step in plan.steps if isinstance(step, EnsureSeed))
    assert (seed.nics[0].address, seed.nics[0].gateway) == ("10.77.0.2/24", "")


def test_guests_on_an_adopted_bridge_ask_the_site_unless_a_pool_is_given() -> None:
    adopted = made(AddNetwork(name="site", type="adopted", bridge="br0", subnet="10.78.0.0/24", gateway="10.78.0.254"))
    assert (adopted.pool, adopted.gateway) == (("", ""), "10.78.0.254")
    plan = of(a_cluster(networks=[adopted]), AddInstance(name="new", image="debian-12"))
    (seed,) = (step.seed for step in plan.steps if isinstance(step, EnsureSeed))
    assert seed.nics[0].asks
    assert added(plan).nics[0].address == ""
    plan = of(a_cluster(networks=[adopted]), AddInstance(name="new", image="debian-12", nics=(NicWish(address="10.78.0.9"),)))
    (seed,) = (step.seed for step in plan.steps if isinstance(step, EnsureSeed))
    assert (seed.nics[0].asks, seed.nics[0].address, seed.nics[0].gateway) == (False, "10.78.0.9/24", "10.78.0.254")
    assert "stays" in of(a_cluster(networks=[adopted]), RemoveNetwork(network="site")).summary


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="bridge"), "type"),
        (AddNetwork(name="x", type="adopted"), "bridge"),
        (AddNetwork(name="x", type="adopted", bridge="br0", host_ports=("tcp/22",)), "host_ports"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", uplink="eth0"), "uplink"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="routed", uplink="eth0"), "pool_first"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", type="routed", uplink="eth 0"), "pool_first"),
        (AddNetwork(name="x", subnet6="fd00::/64", type="nat"), "type"),
        (AddNetwork(name="x", subnet6="fd00::/64", type="isolated", nat6=True), "nat6"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", gateway="10.1.0.1"), "gateway"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", host_ports=("22",)), "host_ports"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", host_ports=("tcp/0",)), "host_ports"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", host_ports=("tcp/00022",)), "host_ports"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", host_ports=("tcp/22-22",)), "host_ports"),
        (AddNetwork(name="x", subnet="10.0.0.0/24", reserved=("10.0.0.9-10.0.0.3",)), "reserved"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_its_field(request_: AddNetwork, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        request_.check()
    assert caught.value.object == field


# --- routes to single guests ------------------------------------------------------------------------------------------------------------
def test_on_an_uplink_each_guest_has_a_route_and_a_gateway_outside_of_its_subnet() -> None:
    wish = AddNetwork(
        name="pub", type="routed", subnet="192.0.2.0/24", uplink="eth0", pool_first="192.0.2.30", pool_last="192.0.2.39"
    )
    network = made(wish)
    assert (network.gateway, network.is_per_guest) == ("169.254.1.1", True)
    view = a_cluster(networks=[network])
    plan = of(view, AddInstance(name="new", image="debian-12"))
    (routed,) = (step for step in plan.steps if isinstance(step, EnsureRouted))
    assert (routed.addresses, routed.new) == (("192.0.2.30",), True)
    (seed,) = (step.seed for step in plan.steps if isinstance(step, EnsureSeed))
    assert (seed.nics[0].address, seed.nics[0].gateway) == ("192.0.2.30/32", "169.254.1.1")


def test_a_start_makes_sure_of_routes_and_a_removal_takes_them_away() -> None:
    public = a_public_network()
    pub = an_instance("pub1", nics=(a_nic(number=30, network=public),), desired="stopped")
    view = a_cluster(networks=[public], instances=[pub])
    (routed,) = (step for step in of(view, StartInstance(instance="pub1")).steps if isinstance(step, EnsureRouted))
    assert not routed.new, "a start that fails does not take them away"
    assert "not-routed" in kinds(of(view, RemoveInstance(instance="pub1")))
    repair = of(view, RepairNetwork(network="public"))
    assert [step.network.routes for step in repair.steps if isinstance(step, EnsureNetwork)] == [("192.0.2.30",)]


# --- modify -----------------------------------------------------------------------------------------------------------------------------
def changed(view_of: Network, request: ModifyNetwork) -> Network:
    (network,) = written(of(a_cluster(networks=[view_of]), request), "success").values()
    assert isinstance(network, Network)
    return network


def test_reserved_addresses_are_given_out_by_hand_only() -> None:
    network = changed(
        a_network(), ModifyNetwork(network="lan", reserve=("10.77.0.2-10.77.0.4", "10.77.0.6", "10.77.0.0-10.77.0.1"))
    )
    assert network.reserved == ("10.77.0.2-10.77.0.4", "10.77.0.6", "10.77.0.0-10.77.0.1")
    view = a_cluster(networks=[network])
    nics = (NicWish(), NicWish(), NicWish(address="10.77.0.3"))
    assert [nic.address for nic in added(of(view, AddInstance(name="new", nics=nics))).nics] == [
        "10.77.0.5",
        "10.77.0.7",
        "10.77.0.3",
    ]
    assert changed(network, ModifyNetwork(network="lan", release=("10.77.0.6",))).reserved == network.reserved[::2]


def test_a_reservation_of_most_of_an_ipv6_subnet_costs_nothing() -> None:
    six = an_ipv6_network(last=0xFFFF)
    six = replace(six, pool6=("fd00:77::2", "fd00:77::ffff:ffff:ffff:ffff"), reserved=("fd00:77::2-fd00:77::ffff:ffff:ffff:0",))
    (nic,) = added(of(a_cluster(networks=[six]), AddInstance(name="new"))).nics
    assert nic.address6 == "fd00:77::ffff:ffff:ffff:1"


def test_what_an_instance_has_is_not_reserved_and_what_is_not_reserved_not_released() -> None:
    view = a_cluster(instances=[an_instance(nics=(a_nic(number=10),))])
    with pytest.raises(Refused, match="web1 has an address"):
        of(view, ModifyNetwork(network="lan", reserve=("10.77.0.9-10.77.0.11",)))
    with pytest.raises(Refused, match="no reservation"):
        of(view, ModifyNetwork(network="lan", release=("10.77.0.9",)))
    with pytest.raises(BadInput, match="not in it"):
        of(view, ModifyNetwork(network="lan", reserve=("10.78.0.9",)))


def test_only_what_nodes_must_do_makes_steps() -> None:
    view = a_cluster(nodes=2)
    assert kinds(of(view, ModifyNetwork(network="lan", pool_first="10.77.0.50", notes="x"))) == []
    plan = of(view, ModifyNetwork(network="lan", allow_host=("tcp/22",)))
    assert kinds(plan) == ["network"] * 2
    assert all(isinstance(step, EnsureNetwork) and step.before and not step.before.host_ports for step in plan.steps)
    assert of(view, ModifyNetwork(network="lan", pool_first="10.77.0.2")).summary.endswith("so already")
    with pytest.raises(Refused, match="do not reach"):
        of(view, ModifyNetwork(network="lan", deny_host=("tcp/22",)))


@pytest.mark.parametrize(
    "request_",
    [
        ModifyNetwork(network="lan", pool_first="10.78.0.2"),
        ModifyNetwork(network="lan", pool_first="10.77.0.9", pool_last="10.77.0.8"),
        ModifyNetwork(network="lan", pool_last="10.77.0.255"),
        ModifyNetwork(network="lan", pool6_last="fd00:77::9"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(request_: ModifyNetwork) -> None:
    with pytest.raises(BadInput):
        of(a_cluster(), request_)


# --- what nodes are told ----------------------------------------------------------------------------------------------------------------
def test_an_instance_takes_its_forwards_along_when_it_goes() -> None:
    web = an_instance(nics=(a_nic(number=10),))
    view = a_cluster(instances=[web], extra=[a_forward(web), a_forward(web, 443)])
    plan = of(view, RemoveInstance(instance="web1"))
    assert kinds(plan).index("network") < kinds(plan).index("stopped")
    (laid,) = (step for step in plan.steps if isinstance(step, EnsureNetwork))
    assert laid.network.entrances == () and laid.before and len(laid.before.entrances) == 2
    assert {key for key, record in written(plan, "success").items() if record is None} >= {
        "state/forward/tcp-80",
        "state/forward/tcp-443",
    }
    assert f"network/{a_network().id}" in plan.uses.exclusive
