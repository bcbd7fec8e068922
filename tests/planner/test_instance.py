"""Verbs of instances."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable
from covey.model.instance import Instance
from covey.model.plan import Plan, Uses
from covey.model.pool import Space
from covey.model.record import Record, decoded
from covey.model.request import Request
from covey.model.requests.instance import (
    AddInstance,
    DiskWish,
    ModifyInstance,
    NicWish,
    RebootInstance,
    RemoveInstance,
    ResetInstance,
    StartInstance,
    StopInstance,
)
from covey.model.requests.repair import RepairInstance
from covey.model.steps.instance import EnsureSeed
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import (
    GIB,
    a_cluster,
    a_debris,
    a_disk,
    a_network,
    a_nic,
    a_plan_record,
    a_pool,
    an_id,
    an_image,
    an_instance,
    an_ipv6_network,
    an_observed,
    asked,
)


def of(view: ClusterView, request: Request) -> Plan:
    return plan(view, asked(request))


def kinds(made: Plan) -> list[str]:
    return [step.kind.partition("@")[0] for step in made.steps]


def written(made: Plan, when: str) -> dict[str, Record | None]:
    return {write.key: None if write.record is None else decoded(write.key, write.record) for write in getattr(made, when)}


def added(made: Plan) -> Instance:
    (instance,) = written(made, "begin").values()
    assert isinstance(instance, Instance)
    return instance


def test_an_instance_gets_its_volumes_then_its_seed_then_its_domain_and_runs() -> None:
    made = of(a_cluster(), AddInstance(name="web1", image="debian-12", disks=(DiskWish(), DiskWish(size=GIB))))
    assert kinds(made) == ["volume", "volume", "seed", "filtered", "defined", "running"]
    assert [getattr(step, "image", None) for step in made.steps[:2]] == [an_image().id, ""]


def test_an_instance_that_is_not_started_does_not_run_and_needs_no_memory() -> None:
    made = of(a_cluster(memory=GIB), AddInstance(name="web1", image="debian-12", memory=40 * GIB, start=False))
    assert kinds(made) == ["volume", "seed", "filtered", "defined"]
    assert added(made).desired == "stopped"


def test_while_it_is_made_its_name_is_taken_and_afterwards_it_is_ready() -> None:
    made = of(a_cluster(), AddInstance(name="web1", image="debian-12"))
    begun = added(made)
    assert (begun.name, begun.state) == ("web1", "adding")
    (done,) = written(made, "success").values()
    assert done == replace(begun, state="ready")
    assert list(written(made, "undone").values()) == [None]


def test_a_disk_without_a_size_is_as_large_as_its_image() -> None:
    (disk,) = added(of(a_cluster(), AddInstance(name="web1", image="debian-12"))).disks
    assert disk.size == an_image().size


def test_a_disk_smaller_than_its_image_is_refused() -> None:
    with pytest.raises(BadInput, match="smaller"):
        of(a_cluster(), AddInstance(name="web1", image="debian-12", disks=(DiskWish(size=GIB),)))


def test_an_instance_without_an_image_has_no_disk_and_no_seed() -> None:
    made = of(a_cluster(), AddInstance(name="web1"))
    assert kinds(made) == ["filtered", "defined", "running"]
    assert added(made).disks == ()


def test_raw_volumes_claim_all_of_their_size_and_thin_ones_little() -> None:
    wishes = (DiskWish(size=8 * GIB, format="raw"), DiskWish(size=8 * GIB))
    claims = of(a_cluster(), AddInstance(name="web1", disks=wishes)).claims
    assert claims[0].amount == 8 * GIB
    assert claims[1].amount < GIB


@pytest.mark.parametrize("taken", ["name", "uuid", "mac", "address"])
def test_what_another_instance_has_is_taken(taken: str) -> None:
    view = a_cluster(instances=[an_instance("web1", nics=(a_nic(number=10),))])
    request = {
        "name": AddInstance(name="web1"),
        "uuid": AddInstance(name="web2", uuid=an_id("instance/web1").upper()),
        "mac": AddInstance(name="web2", nics=(NicWish(mac="02-C0-7E-00-00-0A"),)),
        "address": AddInstance(name="web2", nics=(NicWish(address="10.77.0.10"),)),
    }[taken]
    with pytest.raises(Refused, match="taken"):
        of(view, request)


def test_who_asks_for_an_address_that_is_taken_is_told_who_has_it() -> None:
    view = a_cluster(instances=[an_instance("web1", nics=(a_nic(number=10),))])
    with pytest.raises(Refused, match=r"10\.77\.0\.10 is taken by web1"):
        of(view, AddInstance(name="web2", nics=(NicWish(address="10.77.0.10"),)))
    with pytest.raises(Refused, match=r"10\.77\.0\.11 is asked for twice"):
        of(view, AddInstance(name="web2", nics=(NicWish(address="10.77.0.11"), NicWish(address="10.77.0.11"))))


def test_addresses_are_given_from_the_lowest_free_one_on() -> None:
    network = a_network(pool=(10, 12))
    there = [an_instance("web1", nics=(a_nic(number=10, network=network),))]
    made = of(a_cluster(networks=[network], instances=there), AddInstance(name="web2", nics=(NicWish(), NicWish())))
    assert [nic.address for nic in added(made).nics] == ["10.77.0.11", "10.77.0.12"]


def test_a_guest_gets_an_address_of_each_family_that_its_network_has() -> None:
    six, both = an_ipv6_network(), replace(a_network("both", "10.78.0"), subnet6="fd00:78::/64", gateway6="fd00:78::1")
    both = replace(both, pool6=("fd00:78::a", "fd00:78::c"))
    wishes = (
        NicWish(network="six"),
        NicWish(network="both"),
        NicWish(network="both", address="none", address6="FD00:78:0::B"),
        NicWish(network="both", address6="none"),
        NicWish(network="both"),
    )
    made = of(a_cluster(networks=[six, both]), AddInstance(name="web2", image="debian-12", nics=wishes))
    assert [(nic.address, nic.address6) for nic in added(made).nics] == [
        ("", "fd00:77::2"),
        ("10.78.0.2", "fd00:78::a"),
        ("", "fd00:78::b"),
        ("10.78.0.3", ""),
        ("10.78.0.4", "fd00:78::c"),
    ]
    (seed,) = (step.seed for step in made.steps if isinstance(step, EnsureSeed))
    first, second, third, *_ = seed.nics
    assert (first.address, first.gateway, first.address6, first.gateway6) == ("", "", "fd00:77::2/64", "fd00:77::1")
    assert first.dns == (), "it cannot reach 9.9.9.9"
    assert (second.address, second.gateway, second.dns) == ("10.78.0.2/24", "10.78.0.1", ("9.9.9.9",))
    assert (second.address6, second.gateway6) == ("fd00:78::a/64", "fd00:78::1")
    assert (third.address, third.gateway) == ("", "")


def test_an_ipv6_address_is_taken_however_it_is_spelled() -> None:
    six = an_ipv6_network()
    there = an_instance("web1", nics=(replace(a_nic(network=a_network()), network=six.id, address="", address6="fd00:77::a"),))
    with pytest.raises(Refused, match="fd00:77::a is taken"):
        of(
            a_cluster(networks=[six], instances=[there]),
            AddInstance(name="web2", nics=(NicWish(address6="fd00:0077::000A"),)),
        )


def test_an_address_of_a_family_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="has no IPv6"):
        of(a_cluster(), AddInstance(name="web2", nics=(NicWish(address6="fd00:77::a"),)))


def test_a_network_without_a_free_address_has_no_room() -> None:
    network = a_network(pool=(10, 10))
    there = [an_instance("web1", nics=(a_nic(number=10, network=network),))]
    with pytest.raises(NoSpace, match="no free address"):
        of(a_cluster(networks=[network], instances=there), AddInstance(name="web2"))


@pytest.mark.parametrize("address", ["10.77.0.0", "10.77.0.255", "10.77.0.1", "10.78.0.5"])
def test_network_broadcast_gateway_and_foreign_addresses_are_not_for_guests(address: str) -> None:
    with pytest.raises(BadInput):
        of(a_cluster(), AddInstance(name="web1", nics=(NicWish(address=address),)))


def test_without_networks_an_instance_has_no_nic() -> None:
    assert added(of(a_cluster(networks=[]), AddInstance(name="web1"))).nics == ()


def test_of_several_networks_default_is_usual_and_else_one_must_be_named() -> None:
    lan, dmz, usual = a_network(), a_network("dmz", "10.78.0"), a_network("default", "10.79.0")
    (nic,) = added(of(a_cluster(networks=[lan, dmz, usual]), AddInstance(name="web1"))).nics
    assert nic.network == usual.id
    with pytest.raises(NotFound, match="none is called default"):
        of(a_cluster(networks=[lan, dmz]), AddInstance(name="web1"))


def test_the_node_with_most_memory_left_is_chosen_and_the_reason_given() -> None:
    there = [an_instance("web1", memory=50 * GIB)]
    made = of(a_cluster(nodes=2, instances=there), AddInstance(name="web2"))
    assert added(made).node == an_id("node/n2")
    assert made.reasons[0].startswith("n2 has most")


def test_what_shall_run_counts_as_used_even_while_it_does_not() -> None:
    there = [an_instance("web1", memory=60 * GIB), an_instance("web2", memory=60 * GIB, desired="stopped")]
    with pytest.raises(NoSpace, match="not yet promised"):
        of(a_cluster(instances=there), AddInstance(name="web3", memory=5 * GIB))
    of(a_cluster(instances=there[1:]), AddInstance(name="web3", memory=5 * GIB))


def test_a_pool_keeps_its_floor() -> None:
    view = a_cluster(space=Space(100 * GIB, 20 * GIB))
    of(view, AddInstance(name="web1", disks=(DiskWish(size=15 * GIB, format="raw"),)))
    with pytest.raises(NoSpace, match="must stay free"):
        of(view, AddInstance(name="web1", disks=(DiskWish(size=15 * GIB + 512, format="raw"),)))
    with pytest.raises(NoSpace):
        of(view, AddInstance(name="web1", disks=(DiskWish(size=8 * GIB, format="raw"),) * 2))


def test_thin_disks_that_may_outgrow_their_pool_are_warned_of() -> None:
    made = of(a_cluster(space=Space(100 * GIB, 20 * GIB)), AddInstance(name="web1", disks=(DiskWish(size=50 * GIB),)))
    assert "may grow to 50G" in made.warnings[0]


def test_an_unfinished_image_cannot_be_used() -> None:
    with pytest.raises(Refused, match="adding"):
        of(a_cluster(images=[an_image(state="adding")]), AddInstance(name="web1", image="debian-12"))


def test_an_instance_whose_uuid_has_leftovers_waits_for_their_removal() -> None:
    from covey.model.steps.instance import EnsureRunning

    id = an_id("instance/web1")
    left = a_debris(7, EnsureRunning(node=an_id("node/n1"), instance=id, generation=1))
    with pytest.raises(Refused, match="job 7"):
        of(a_cluster(extra=[left]), AddInstance(name="web1", uuid=id))


def test_no_cluster_no_instance() -> None:
    with pytest.raises(Refused, match="no cluster"):
        of(ClusterView(), AddInstance(name="web1"))


def test_a_node_that_has_not_said_what_it_knows_is_given_nothing() -> None:
    with pytest.raises(Unavailable, match="has not answered"):
        of(a_cluster(answering=False, instances=[an_instance()]), StopInstance(instance="web1"))


def test_a_node_of_an_older_release_must_be_upgraded_first() -> None:
    with pytest.raises(Refused) as refused:
        of(a_cluster(kinds=["answer@1"], instances=[an_instance()]), StopInstance(instance="web1"))
    assert refused.value.hint == "upgrade Covey on n1 first"


# --- life -------------------------------------------------------------------------------------------------------------------------------
STOPPED = an_instance(desired="stopped")


def test_a_start_raises_the_generation_and_a_failed_one_does_not_lower_it() -> None:
    made = of(a_cluster(instances=[STOPPED]), StartInstance(instance="web1"))
    assert kinds(made) == ["defined", "running"]
    begun, undone = added(made), next(iter(written(made, "undone").values()))
    assert (begun.generation, begun.desired) == (STOPPED.generation + 1, "running")
    assert isinstance(undone, Instance)
    assert (undone.generation, undone.desired) == (STOPPED.generation + 1, "stopped")


@pytest.mark.parametrize(("desired", "state"), [("running", "paused"), ("stopped", "running")])
@pytest.mark.parametrize("request_of", [StartInstance, RepairInstance])
def test_a_run_that_is_under_way_keeps_its_generation(
    desired: str, state: str, request_of: type[StartInstance] | type[RepairInstance]
) -> None:
    """Else its own shutting down would be taken for that of an older run, and nobody would hear that it is ready."""
    instance = an_instance(desired=desired, generation=3)
    view = a_cluster(instances=[instance], extra=[an_observed(instance, state, generation=3)])
    made = of(view, request_of(instance="web1"))
    if request_of is RepairInstance and desired == "stopped":
        assert kinds(made)[-1] == "stopped"
        return
    assert (added(made).desired, added(made).generation) == ("running", 3)
    assert getattr(made.steps[-1], "generation", 0) == 4, "should it be over by then, the next run begins"


@pytest.mark.parametrize("spelling", ["{{{}}}", "urn:uuid:{}", "{}"])
def test_a_uuid_is_kept_in_its_one_spelling(spelling: str) -> None:
    id = an_id("instance/new")
    for text in (id, id.upper(), id.replace("-", "")):
        assert added(of(a_cluster(), AddInstance(name="web1", uuid=spelling.format(text)))).id == id


def test_no_generation_is_used_twice() -> None:
    """A run went on as generation 3, or, as it was over by then, began as 4: then the next one is 5."""
    instance = an_instance(generation=3)
    view = a_cluster(instances=[instance], extra=[an_observed(instance, generation=4)])
    assert added(of(view, RebootInstance(instance="web1"))).generation == 5


def test_starting_what_runs_does_nothing() -> None:
    view = a_cluster(instances=[an_instance()], extra=[an_observed(an_instance())])
    assert of(view, StartInstance(instance="web1")).steps == ()


def test_what_should_run_and_does_not_is_started() -> None:
    view = a_cluster(instances=[an_instance()], extra=[an_observed(an_instance(), "crashed")])
    assert "running" in kinds(of(view, StartInstance(instance="web1")))


def test_a_start_needs_memory() -> None:
    with pytest.raises(NoSpace):
        of(a_cluster(instances=[STOPPED], memory=GIB), StartInstance(instance="web1"))


def test_a_stop_is_graceful_by_default_and_says_for_how_long() -> None:
    view = a_cluster(instances=[an_instance()])
    made = of(view, StopInstance(instance="web1"))
    assert getattr(made.steps[0], "graceful_s", None) == 120.0
    assert "cut at once" in of(view, StopInstance(instance="web1", graceful_s=0.0)).summary
    assert made.repair == "covey instance stop web1 --now"


@pytest.mark.parametrize(("state", "steps"), [("stopped", 0), ("running", 2), ("paused", 2), ("crashed", 2)])
def test_stopping_is_for_what_is_not_known_to_be_stopped(state: str, steps: int) -> None:
    view = a_cluster(instances=[STOPPED], extra=[an_observed(STOPPED, state)])
    assert len(of(view, StopInstance(instance="web1")).steps) == steps


def test_a_guest_is_asked_first_which_can_be_cancelled_and_then_cut_which_cannot() -> None:
    web = an_instance("web1")
    view = a_cluster(instances=[web], extra=[an_observed(web)])
    asked, cut = of(view, StopInstance(instance="web1", graceful_s=30.0)).steps
    assert (asked.role, cut.role) == ("undoable", "forward")
    (only,) = of(view, StopInstance(instance="web1", graceful_s=0.0)).steps
    assert only == cut


@pytest.mark.parametrize("request_of", [RebootInstance, ResetInstance])
def test_a_stopped_instance_is_not_started_by_a_reboot(request_of: type[RebootInstance] | type[ResetInstance]) -> None:
    with pytest.raises(Refused, match="stopped"):
        of(a_cluster(instances=[STOPPED]), request_of(instance="web1"))
    made = of(a_cluster(instances=[an_instance()]), request_of(instance="web1"))
    assert kinds(made)[-1] == "generation"


def test_a_reboot_can_be_cancelled_while_the_guest_is_asked_and_leaves_the_run_that_it_had() -> None:
    web = an_instance("web1")
    made = of(a_cluster(instances=[web]), RebootInstance(instance="web1", graceful_s=30.0))
    assert [(step.kind.partition("@")[0], step.role) for step in made.steps] == [
        ("defined", "undoable"),
        ("asked-to-stop", "undoable"),
        ("generation", "forward"),
    ]
    (undone,) = made.undone
    assert decoded(undone.key, undone.record or {}) == web
    assert kinds(of(a_cluster(instances=[web]), ResetInstance(instance="web1"))) == ["defined", "generation"]


def test_a_removal_stops_then_forgets_then_removes_each_disk() -> None:
    instance = an_instance(disks=(a_disk("a", 0), a_disk("b", 1)))
    made = of(a_cluster(instances=[instance], extra=[an_observed(instance)]), RemoveInstance(instance="web1", purge=True))
    assert kinds(made) == ["stopped", "instance-absent", "volume-absent", "volume-absent"]
    assert set(written(made, "success")) == {f"state/instance/{instance.id}", f"state/observed/{instance.id}"}
    assert made.warnings == ("what is on its disks is lost",)


@pytest.mark.parametrize("request_of", [StartInstance, StopInstance, RebootInstance, ModifyInstance, RepairInstance])
@pytest.mark.parametrize("state", ["adding", "removing", "purging", "restoring"])
def test_what_is_being_made_or_removed_is_left_alone(request_of: type[StartInstance], state: str) -> None:
    with pytest.raises(Refused, match=state):
        of(a_cluster(instances=[an_instance(state=state)]), request_of(instance="web1"))


def test_a_removal_that_was_cut_short_can_be_finished() -> None:
    assert of(a_cluster(instances=[an_instance(state="removing")]), RemoveInstance(instance="web1")).steps


def test_modifying_changes_what_was_given_and_nothing_else() -> None:
    instance = an_instance(notes="old", tags=("a",))
    (after,) = written(
        of(a_cluster(instances=[instance]), ModifyInstance(instance="web1", tags=("c", "b", "c"))), "success"
    ).values()
    assert after == replace(instance, tags=("b", "c"))
    assert of(a_cluster(instances=[instance]), ModifyInstance(instance="web1", notes="old")).success == ()


@pytest.mark.parametrize(
    ("desired", "state", "last"),
    [
        ("running", "running", "defined"),
        ("running", "missing", "running"),
        ("stopped", "running", "stopped"),
        ("stopped", "stopped", "defined"),
    ],
)
def test_a_repair_makes_the_machine_what_the_record_says(desired: str, state: str, last: str) -> None:
    instance = an_instance(desired=desired)
    made = of(a_cluster(instances=[instance], extra=[an_observed(instance, state)]), RepairInstance(instance="web1"))
    assert kinds(made)[-1] == last


def test_an_instance_holds_itself_and_shares_what_it_stands_on() -> None:
    instance = an_instance(nics=(a_nic(),), disks=(replace(a_disk(), image=an_image().id),))
    uses = of(a_cluster(instances=[instance]), RebootInstance(instance="web1")).uses
    assert uses.exclusive == (f"instance/{instance.id}",)
    assert set(uses.shared) == {
        f"node/{instance.node}",
        f"pool/{a_pool().id}",
        f"network/{a_network().id}",
        f"address/{a_network().id}/10.77.0.10",
        f"image/{an_image().id}",
    }


def test_what_is_being_made_is_removed_only_once_no_job_is_at_work_on_it() -> None:
    web = an_instance("web1", state="adding")
    making = a_plan_record(7, Plan("make it", uses=Uses((f"instance/{web.id}",))))
    with pytest.raises(Refused, match="being made") as refused:
        of(a_cluster(instances=[web], extra=[making]), RemoveInstance(instance="web1"))
    assert "job cancel 7" in refused.value.hint
    assert of(a_cluster(instances=[web]), RemoveInstance(instance="web1")).steps


def test_waiting_for_a_guest_that_runs_but_has_not_said_that_it_is_ready_does_wait() -> None:
    web = an_instance("web1")
    view = a_cluster(instances=[web], extra=[an_observed(web)])
    made = of(view, StartInstance(instance="web1", wait_ready=True))
    assert made.awaits is not None
    assert made.awaits.generation == web.generation
    assert not made.begin
    ready = a_cluster(instances=[web], extra=[an_observed(web, ready_generation=web.generation)])
    assert of(ready, StartInstance(instance="web1", wait_ready=True)).awaits is None


def test_the_record_gets_the_generation_that_its_node_says_runs() -> None:
    web = an_instance("web1", desired="stopped")
    view = a_cluster(
        instances=[web], extra=[an_observed(web)]
    )  # it runs on, of itself; by the time of the step it may have ended
    made = of(view, StartInstance(instance="web1"))
    (write,) = made.success
    assert write.fields == ("generation",)
    assert made.steps[write.results["generation"].step].kind == "running@1"


def test_more_cpus_than_the_machine_has_are_given_with_a_warning() -> None:
    view = a_cluster()
    (has,) = {telemetry.cpus for telemetry in view.telemetry.values()}
    assert not of(view, AddInstance(name="web1", cpus=has)).warnings
    (warning,) = of(view, AddInstance(name="web1", cpus=has + 1)).warnings
    assert f"{has + 1} CPUs, but n1 has {has}" in warning
