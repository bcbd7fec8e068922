"""Addresses and MACs are unique in the whole cluster, whatever jobs run at once and however they end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from covey.base.errors import CoveyError, Refused
from covey.engine.engine import as_if
from covey.engine.queue import Busy, blocked_by
from covey.model import codec
from covey.model import record as records
from covey.model.network import Network
from covey.model.node import Node, split
from covey.model.plan import Plan, Write
from covey.model.request import Request
from covey.model.requests.clone import CloneInstance
from covey.model.requests.instance import AddInstance, NicWish, RemoveInstance, RestoreInstance
from covey.model.requests.network import ModifyNetwork
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.model.requests.node import ModifyNode
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import a_cluster, a_network, a_nic, a_node, a_removed, an_instance, asked

LAN, SITE = a_network(pool=(2, 6)), replace(a_network("site", "10.0.0", (1, 7)), bridge="br0", adopted=True, nat=False)
THERE = (
    an_instance("web1", desired="stopped", nics=(a_nic(number=3),)),
    an_instance("web2", desired="stopped", nics=(a_nic(number=4), a_nic(1, 5, SITE))),
)
NAMES = st.sampled_from(["web1", "web2", "web3", "web4"])
NODES = st.sampled_from(["n1", "n2", "n3"])
WISHES = st.sampled_from(["auto", "auto", "auto", "none", "10.77.0.3", "10.0.0.4"])
NETWORKS = st.sampled_from(["lan", "lan", "site"])
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(AddInstance, name=NAMES, node=NODES, nics=st.lists(st.builds(NicWish, network=NETWORKS, address=WISHES), max_size=2).map(tuple)),
    st.builds(AddNic, instance=NAMES, network=NETWORKS, address=WISHES),
    st.builds(ModifyNic, instance=NAMES, nic=st.integers(0, 1), network=st.none() | NETWORKS, address=st.none() | WISHES),
    st.builds(RemoveNic, instance=NAMES, nic=st.integers(0, 1)),
    st.builds(RemoveInstance, instance=NAMES, purge=st.booleans()),
    st.builds(RestoreInstance, instance=NAMES),
    st.builds(CloneInstance, instance=NAMES, name=NAMES),
    st.builds(ModifyNetwork, network=NETWORKS, reserve=st.sampled_from([("10.77.0.6",), ("10.0.0.7",)])),
    st.builds(ModifyNode, node=NODES, address=st.sampled_from([None, "10.0.0.5"]), storage_address=st.sampled_from(["", "10.0.0.6"])),
)  # fmt: skip


@dataclass
class Course:
    """Jobs as the engine runs them: planned one at a time on the newest view, begun unless something is busy, ended in any order."""

    view: ClusterView
    busy: Busy = field(default_factory=Busy)
    running: dict[int, Plan] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def begin(self, job: int, request: Request) -> None:
        try:
            made = plan(self.view, request)
        except CoveyError as error:
            self.log.append(f"{request.kind}: {type(error).__name__}")
            return
        if not blocked_by(made, self.busy, ()):
            self.log.append(f"{request.kind}: begun")
            self.view = as_if(self.view, job, made)
            self.busy.take(job, made.uses)
            self.running[job] = made

    def end(self, job: int, well: bool) -> None:
        made = self.running.pop(job)
        self.busy.release(job, made.uses)
        self.view = written(self.view, made.success if well else made.undone)


def written(view: ClusterView, writes: tuple[Write, ...]) -> ClusterView:
    for write in writes:
        record = None
        if write.record is not None:
            filled = {**write.record, **dict.fromkeys(write.results, 1)}
            _, present = view.held(write.key)[::-1]
            if write.fields and present is not None:
                filled = codec.encode(present) | {name: filled[name] for name in write.fields}
            record = records.decoded(write.key, filled)
        view = view.apply([(write.key, record)], view.revision, 0)
    return view


def check_unique(view: ClusterView) -> None:
    nics = [nic for instance in view.instances for nic in instance.nics]
    macs = [nic.mac for nic in nics]
    assert len(macs) == len(set(macs))
    addresses = [(nic.network, address) for nic in nics for address in nic.addresses]
    assert len(addresses) == len(set(addresses))
    gateways = {(network.id, family.gateway) for network in view.all("network", Network) for family in network.families}
    assert not gateways & set(addresses)
    hosts = {host for node in view.all("node", Node) for host in node.hosts}
    assert not hosts & {address for _, address in addresses}


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(REQUESTS, st.integers(0, 3), st.booleans()), min_size=3, max_size=14))
def test_no_address_is_given_twice_whatever_runs_at_once_and_however_it_ends(steps: list[tuple[Request, int, bool]]) -> None:
    course = Course(
        a_cluster(nodes=3, networks=[LAN, SITE], instances=THERE, extra=[a_removed(an_instance("web3", nics=(a_nic(number=5),)))])
    )
    for number, (request, ends, well) in enumerate(steps):
        course.begin(number + 1, asked(request, f"seed{number}"))
        check_unique(course.view)
        for job in list(course.running)[:ends]:
            course.end(job, well)
            check_unique(course.view)
    for line in course.log:
        event(line)
    for job in list(course.running):
        course.end(job, job % 2 == 0)
        check_unique(course.view)


def test_an_address_that_a_job_may_have_to_give_back_is_not_given_to_another() -> None:
    """web1 moves from .10 to .20; while it does, nobody is given .10, which it gets back if that fails."""
    web = an_instance("web1", nics=(a_nic(number=10),))
    course = Course(a_cluster(nodes=2, networks=[a_network()], instances=[web]))
    course.begin(1, asked(ModifyNic(instance="web1", nic=0, address="10.77.0.20")))
    course.begin(2, asked(AddInstance(name="web2", nics=(NicWish(address="10.77.0.10"),))))
    assert list(course.running) == [1]
    course.end(1, well=True)
    course.begin(2, asked(AddInstance(name="web2", nics=(NicWish(address="10.77.0.10"),))))
    assert list(course.running) == [2], "now it is free"


def on_site(**changes: Any) -> ClusterView:
    node: Node = replace(a_node("n2"), storage_address="10.0.0.3")
    return a_cluster(nodes=2, networks=[SITE], extra=[node], **changes)


def test_an_address_of_a_node_is_no_guests() -> None:
    """A network of the site's that the nodes are on: theirs are 10.0.0.1 to 10.0.0.3."""
    made = plan(on_site(), asked(AddInstance(name="new")))
    (address,) = {nic.address for write in made.begin if write.record for nic in records.decoded(write.key, write.record).nics}  # type: ignore[union-attr]
    assert address == "10.0.0.4"
    for taken in ("10.0.0.2", "10.0.0.3"):
        with pytest.raises(Refused, match="node n2"):
            plan(on_site(), asked(AddInstance(name="new", nics=(NicWish(address=taken),))))


def test_an_address_of_a_guest_is_no_nodes() -> None:
    web = an_instance("web1", nics=(a_nic(number=5, network=SITE),))
    for wish in ({"address": "10.0.0.5"}, {"storage_address": "10.0.0.5"}):
        with pytest.raises(Refused, match="web1"):
            plan(on_site(instances=[web]), asked(ModifyNode(node="n1", **wish)))  # type: ignore[arg-type]
    assert split(a_node("n1").address)[0] == "10.0.0.1"
