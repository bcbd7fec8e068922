"""Verbs of NICs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, NotFound, Refused
from covey.model.domain import DomainNic
from covey.model.filter import Filter, Rule
from covey.model.instance import Instance
from covey.model.plan import Plan
from covey.model.requests.firewall import RemoveFirewall
from covey.model.requests.instance import ModifyInstance, StartInstance
from covey.model.requests.network import RemoveNetwork
from covey.model.requests.nic import MOST_NICS, AddNic, ModifyNic, RemoveNic
from covey.model.steps.nic import EnsureFiltered, EnsureNicAttached, EnsureNicSet
from covey.planner.filters import filters_of
from tests.kit.builders import a_cluster, a_debris, a_firewall, a_network, a_nic, an_instance
from tests.planner.test_instance import kinds, of, written

LAN, LAB = a_network(), a_network("lab", "10.78.0")
WEB = an_instance(nics=(a_nic(0, 10), a_nic(2, 12)))
DB = an_instance("db1", nics=(a_nic(1, 20),))
VIEW = a_cluster(networks=[LAN, LAB], instances=[WEB, DB])


def the_instance(plan: Plan, when: str) -> Instance:
    """The one record that a plan writes."""
    (record,) = written(plan, when).values()
    assert isinstance(record, Instance)
    return record


def test_a_nic_gets_the_lowest_free_index_and_a_free_address() -> None:
    made = of(VIEW, AddNic(instance="web1", network="lan"))
    assert kinds(made) == ["filtered", "nic-attached"]
    after = the_instance(made, "begin")
    assert [(nic.index, nic.address) for nic in after.nics] == [(0, "10.77.0.10"), (1, "10.77.0.2"), (2, "10.77.0.12")]
    assert made.steps[1] == EnsureNicAttached(node=WEB.node, instance=WEB.id, nic=DomainNic(1, after.nics[1].mac, "cv-lan"))
    undone = the_instance(made, "undone")
    assert undone == WEB


def test_an_index_whose_nic_could_not_yet_be_detached_is_not_given_again() -> None:
    left = a_debris(7, EnsureNicAttached(node=WEB.node, instance=WEB.id, nic=DomainNic(1, "02:00:00:00:00:01", "cv-lan")))
    made = of(a_cluster(instances=[WEB], extra=[left]), AddNic(instance="web1"))
    assert getattr(made.steps[1], "nic", DomainNic(9, "", "")).index == 3


def test_an_instance_has_a_most_of_nics() -> None:
    full = an_instance(nics=tuple(a_nic(index, 10 + index) for index in range(MOST_NICS)))
    with pytest.raises(Refused, match="the most"):
        of(a_cluster(instances=[full]), AddNic(instance="web1"))


def test_a_mac_or_an_address_that_is_taken_is_refused() -> None:
    with pytest.raises(Refused, match="MAC"):
        of(VIEW, AddNic(instance="web1", network="lan", mac=DB.nics[0].mac.upper()))
    with pytest.raises(Refused, match=r"10\.77\.0\.20"):
        of(VIEW, AddNic(instance="web1", network="lan", address="10.77.0.20"))
    with pytest.raises(Refused, match=r"10\.77\.0\.20"):
        of(VIEW, ModifyNic(instance="web1", nic=0, address="10.77.0.20"))
    tiny = a_cluster(networks=[a_network(pool=(10, 10))], instances=[WEB])
    with pytest.raises(NoSpace):
        of(tiny, AddNic(instance="web1"))


def test_a_pulled_cable_is_a_step_and_an_address_is_none() -> None:
    made = of(VIEW, ModifyNic(instance="web1", nic=0, up=False))
    (step,) = made.steps
    assert isinstance(step, EnsureNicSet)
    assert (step.nic.up, step.before.up) == (False, True)
    made = of(VIEW, ModifyNic(instance="web1", nic=0, address="10.77.0.99"))
    after = the_instance(made, "begin")
    assert after.nics[0].address == "10.77.0.99"
    (step,) = made.steps
    assert isinstance(step, EnsureFiltered)
    assert (step.before, step.filters) == (filters_of(VIEW, WEB), filters_of(VIEW, after))
    assert [one.addresses for one in step.filters] == [("10.77.0.99",), ("10.77.0.12",)]
    assert any("10.77.0.99" in reason for reason in made.reasons)


def test_a_nic_on_another_network_gets_an_address_there_unless_it_had_none() -> None:
    made = of(VIEW, ModifyNic(instance="web1", nic=0, network="lab"))
    after = the_instance(made, "begin")
    assert (after.nics[0].network, after.nics[0].address, after.nics[0].mac) == (LAB.id, "10.78.0.2", WEB.nics[0].mac)
    assert getattr(made.steps[1], "nic", DomainNic(9, "", "")).bridge == "cv-lab"
    bare = an_instance(nics=(replace(a_nic(), address=""),))
    made = of(a_cluster(networks=[LAN, LAB], instances=[bare]), ModifyNic(instance="web1", nic=0, network="lab"))
    after = the_instance(made, "begin")
    assert after.nics[0].address == ""


@pytest.mark.parametrize(
    "request_",
    [
        ModifyNic(instance="web1", nic=0),
        ModifyNic(instance="web1", nic=0, up=True, network="lan"),
        ModifyNic(instance="web1", nic=0, address="auto"),
        ModifyNic(instance="web1", nic=0, address="10.77.0.10"),
    ],
)
def test_what_is_so_already_is_not_done_again(request_: ModifyNic) -> None:
    made = of(VIEW, request_)
    assert (made.steps, made.begin, "already" in made.summary) == ((), (), True)


def test_a_nic_that_is_taken_out_frees_its_address_with_the_last_step() -> None:
    made = of(VIEW, RemoveNic(instance="web1", nic=2))
    assert kinds(made) == ["nic-detached"]
    after = the_instance(made, "success")
    assert after.nics == WEB.nics[:1]
    assert made.repair == "covey nic remove web1 2"


def test_a_nic_that_it_does_not_have_is_not_found() -> None:
    for request in (RemoveNic(instance="web1", nic=1), ModifyNic(instance="web1", nic=1, up=True)):
        with pytest.raises(NotFound, match="it has: 0, 2"):
            of(VIEW, request)


def test_what_a_nic_may_send_follows_from_its_record_and_its_network() -> None:
    made = of(
        VIEW,
        ModifyNic(instance="web1", nic=0, guarded=False, also=("10.9.0.0/16", "fd00::5"), limit_in=10**6, limit_out=10**7),
    )
    (step,) = made.steps
    assert isinstance(step, EnsureFiltered)
    changed, kept = step.filters
    assert changed == Filter(0, WEB.nics[0].mac, ("10.77.0.10", "10.9.0.0/16", "fd00::5"), ("10.77.0.1",), False, 10**6, 10**7)
    assert kept == Filter(2, WEB.nics[1].mac, ("10.77.0.12",), ("10.77.0.1",))


def test_rules_are_there_before_the_guest_runs() -> None:
    stopped = replace(WEB, desired="stopped")
    made = of(a_cluster(networks=[LAN, LAB], instances=[stopped]), StartInstance(instance="web1"))
    assert kinds(made) == ["filtered", "defined", "running"]


def test_what_a_change_comes_from_stays_until_it_is_done_as_it_may_be_taken_back() -> None:
    shut = a_firewall("shut")
    web = replace(WEB, firewalls=(shut.id,), nics=(a_nic(0, 10),))
    view = a_cluster(networks=[LAN, LAB], instances=[web], extra=[shut])
    moved = of(view, ModifyNic(instance="web1", nic=0, network="lab"))
    freed = of(view, ModifyInstance(instance="web1", firewalls=(), cpus=2))
    later = replace(web, firewalls=(), nics=())
    meanwhile = a_cluster(networks=[LAN, LAB], instances=[later], extra=[shut])
    assert moved.uses.conflicts(of(meanwhile, RemoveNetwork(network="lan")).uses)
    assert freed.uses.conflicts(of(meanwhile, RemoveFirewall(firewall="shut")).uses)


def test_a_firewall_that_only_its_own_rules_name_can_be_removed() -> None:
    shut = a_firewall("shut")
    itself = replace(shut, rules=(Rule("in", "tcp", "22", f"firewall:{shut.id}"),))
    other = replace(a_firewall("other"), rules=itself.rules)
    assert of(a_cluster(extra=[itself]), RemoveFirewall(firewall="shut")).steps
    with pytest.raises(Refused, match="firewall other"):
        of(a_cluster(extra=[itself, other]), RemoveFirewall(firewall="shut"))
