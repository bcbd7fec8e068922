"""Verbs of forwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, NotFound, Refused
from covey.model.network import Entrance, Forward
from covey.model.plan import Plan
from covey.model.requests.forward import AddForward, RemoveForward
from covey.model.requests.instance import StartInstance
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.model.steps.network import EnsureNetwork
from tests.kit.builders import a_cluster, a_forward, a_network, a_nic, a_public_network, an_instance, an_ipv6_network
from tests.planner.test_instance import kinds, of, written

WEB = an_instance(nics=(replace(a_nic(number=10), address6=""),))


def entrances(plan: Plan) -> tuple[Entrance, ...]:
    (step,) = (step for step in plan.steps if isinstance(step, EnsureNetwork))
    return step.network.entrances


def test_a_port_leads_to_the_address_that_the_instance_has_on_the_network() -> None:
    plan = of(a_cluster(instances=[WEB]), AddForward(port="tcp/8080", instance="web1", to_port=80, sources=("192.0.2.7",)))
    (forward,) = written(plan, "success").values()
    assert isinstance(forward, Forward)
    assert (forward.name, forward.to_port, forward.sources) == ("tcp-8080", 80, ("192.0.2.7/32",))
    assert entrances(plan) == (Entrance("tcp", 8080, "10.77.0.10", "", 80, ("192.0.2.7/32",)),)


def test_a_port_leads_to_the_same_port_unless_another_is_said() -> None:
    assert entrances(of(a_cluster(instances=[WEB]), AddForward(port="udp/53", instance="web1")))[0].to_port == 53


def test_a_port_leads_to_one_place_only() -> None:
    view = a_cluster(instances=[WEB], extra=[a_forward(WEB)])
    with pytest.raises(Refused, match="leads elsewhere"):
        of(view, AddForward(port="tcp/80", instance="web1"))
    one, other = (of(view, AddForward(port="tcp/81", instance="web1", to_port=port)) for port in (1, 2))
    assert one.uses.conflicts(other.uses)


def test_a_removed_forward_leaves_the_others() -> None:
    view = a_cluster(instances=[WEB], extra=[a_forward(WEB), a_forward(WEB, 443)])
    plan = of(view, RemoveForward(forward="tcp-80"))
    assert [entrance.port for entrance in entrances(plan)] == [443]
    assert list(written(plan, "success").items()) == [("state/forward/tcp-80", None)]
    with pytest.raises(NotFound, match="did you mean tcp-80"):
        of(view, RemoveForward(forward="tcp-8"))


def test_only_hidden_guests_need_forwards() -> None:
    routed = replace(a_network("dmz", "10.78.0"), nat=False)
    dmz = an_instance("dmz1", nics=(a_nic(number=10, network=routed),))
    both = an_instance("both", nics=(a_nic(0, 11), a_nic(1, 11, routed)))
    two = an_instance("two", nics=(a_nic(0, 12), a_nic(1, 12, a_network("wan", "10.79.0"))))
    bare = an_instance("bare")
    view = a_cluster(networks=[a_network(), routed, a_network("wan", "10.79.0")], instances=[dmz, both, two, bare])
    assert entrances(of(view, AddForward(port="tcp/80", instance="both")))[0].address == "10.77.0.11"
    assert entrances(of(view, AddForward(port="tcp/80", instance="two", network="wan")))[0].address == "10.79.0.12"
    for request in (
        AddForward(port="tcp/80", instance="dmz1"),
        AddForward(port="tcp/80", instance="dmz1", network="dmz"),
        AddForward(port="tcp/80", instance="two"),
        AddForward(port="tcp/80", instance="bare"),
    ):
        with pytest.raises(Refused):
            of(view, request)
    with pytest.raises(NotFound, match="no address in network lan"):
        of(view, AddForward(port="tcp/80", instance="dmz1", network="lan"))


def test_sources_of_a_family_that_the_guest_lacks_are_refused() -> None:
    with pytest.raises(BadInput, match="family"):
        of(a_cluster(instances=[WEB]), AddForward(port="tcp/80", instance="web1", sources=("2001:db8::/32",)))
    six = replace(an_ipv6_network(), nat6=True)
    nic = replace(a_nic(), network=six.id, address="", address6="fd00:77::10")
    plan = of(
        a_cluster(networks=[six], instances=[an_instance(nics=(nic,))]),
        AddForward(port="tcp/80", instance="web1", sources=("2001:db8::/32",)),
    )
    assert entrances(plan)[0].address6 == "fd00:77::10"


def test_whoever_takes_the_nodes_ssh_is_warned() -> None:
    assert of(a_cluster(instances=[WEB]), AddForward(port="tcp/22", instance="web1")).warnings
    assert not of(a_cluster(instances=[WEB]), AddForward(port="tcp/2222", instance="web1", to_port=22)).warnings


def test_a_forward_follows_the_address_of_its_instance() -> None:
    view = a_cluster(instances=[WEB], extra=[a_forward(WEB)])
    plan = of(view, ModifyNic(instance="web1", nic=0, address="10.77.0.99"))
    assert entrances(plan)[0].address == "10.77.0.99"
    assert f"network/{a_network().id}" in plan.uses.exclusive
    for request in (RemoveNic(instance="web1", nic=0), ModifyNic(instance="web1", nic=0, address="none")):
        with pytest.raises(Refused, match="tcp-80 leads to it"):
            of(view, request)
    assert kinds(of(a_cluster(instances=[WEB]), RemoveNic(instance="web1", nic=0))) == ["nic-detached"]


def test_routes_to_single_guests_follow_their_nics() -> None:
    public = a_public_network()
    view = a_cluster(networks=[a_network(), public], instances=[an_instance(nics=(a_nic(0, 10), a_nic(1, 30, public)))])
    assert kinds(of(view, AddNic(instance="web1", network="public")))[0] == "routed"
    assert kinds(of(view, RemoveNic(instance="web1", nic=1))) == ["nic-detached", "not-routed"]
    moved = kinds(of(view, ModifyNic(instance="web1", nic=1, address="192.0.2.31")))
    assert (moved[0], moved[-1]) == ("routed", "not-routed")


def test_a_forward_waits_for_the_instance_that_is_being_changed() -> None:
    view = a_cluster(instances=[replace(WEB, desired="stopped")])
    starting = of(view, StartInstance(instance="web1"))
    assert starting.uses.conflicts(of(view, AddForward(port="tcp/80", instance="web1")).uses)
    assert kinds(starting)[-1] == "running"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (AddForward(port="80", instance="web1"), "port"),
        (AddForward(port="tcp/80-90", instance="web1"), "port"),
        (AddForward(port="icmp/8", instance="web1"), "port"),
        (AddForward(port="tcp/70000", instance="web1"), "port"),
        (AddForward(port="tcp/80", instance="web1", to_port=70000), "to_port"),
        (AddForward(port="tcp/80", instance="web1", sources=("10.0.0.1/8",)), "sources"),
    ],
)
def test_a_forward_that_cannot_be_is_refused_by_its_field(request_: AddForward, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        request_.check()
    assert caught.value.object == field


def test_a_source_is_an_address_and_nothing_behind_it() -> None:
    """What stands behind a % would go into the machine's packet rules as it is."""
    with pytest.raises(BadInput, match="zone"):
        AddForward(port="tcp/80", instance="web1", sources=("fd00::%a} drop; {/64",)).check()
