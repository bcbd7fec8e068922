"""What was removed is kept, comes back, or goes for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, NotFound, Refused
from covey.model.cluster import Defaults
from covey.model.domain import DomainDisk
from covey.model.instance import Instance
from covey.model.network import Entrance, Forward, Network
from covey.model.pool import Space
from covey.model.removed import Removed
from covey.model.requests.disk import AddDisk, RemoveDisk, RestoreDisk
from covey.model.requests.image import RemoveImage
from covey.model.requests.instance import AddInstance, ModifyInstance, RemoveInstance, RestoreInstance, StartInstance
from covey.model.requests.network import RemoveNetwork
from covey.model.requests.pool import RemovePool
from covey.model.requests.repair import PurgeRemoved, RemoveOrphanVolume
from covey.model.steps.disk import EnsureDiskAttached
from covey.model.steps.instance import EnsureInstanceAbsent
from covey.model.steps.network import EnsureNetwork
from covey.model.view import ClusterView
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_cluster_record,
    a_disk,
    a_network,
    a_nic,
    a_pool,
    a_removed,
    an_id,
    an_image,
    an_instance,
)
from tests.planner.test_instance import kinds, of, written

IMAGE = an_image()
WEB = an_instance(disks=(replace(a_disk("a", 0), image=IMAGE.id), a_disk("b", 1)), nics=(a_nic(),), secret="s-1")  # noqa: S106  (a reference)
GONE = a_removed(WEB, used=3 * GIB)
LOST = a_removed(WEB, WEB.disks[1], used=GIB)
FORWARD = Forward("tcp-8080", "tcp-8080", a_network().id, WEB.id, "tcp", 8080, 80, (), NOW)
WITHOUT = replace(WEB, disks=WEB.disks[:1])


def test_of_an_instance_without_disks_no_disks_are_counted() -> None:
    view = a_cluster(instances=[an_instance(disks=())])
    kept = of(view, RemoveInstance(instance="web1")).summary
    assert kept == "remove instance web1, which has no disks; it can be had back for 7d"
    assert of(view, RemoveInstance(instance="web1", purge=True)).summary == "remove instance web1, which has no disks"


def the_kept(view: ClusterView, request: RemoveInstance | RemoveDisk) -> Removed:
    (removed,) = [record for record in written(of(view, request), "success").values() if isinstance(record, Removed)]
    return removed


def restored(view: ClusterView, **wishes: object) -> Instance:
    made = of(view, RestoreInstance(instance="web1", **wishes))  # type: ignore[arg-type]
    (instance,) = [record for record in written(made, "begin").values() if isinstance(record, Instance)]
    return instance


def test_a_removed_instance_keeps_its_disks_for_a_week() -> None:
    request = RemoveInstance(instance="web1", by="anna", reason="too old")
    made = of(a_cluster(instances=[WEB]), request)
    assert kinds(made) == ["volumes-found", "stopped", "instance-absent"]
    kept = the_kept(a_cluster(instances=[WEB]), request)
    assert (kept.keep_until - kept.removed_at, kept.by, kept.reason) == (7 * 86400, "anna", "too old")
    assert kept.instance.disks == WEB.disks
    assert not [write for write in made.success if write.key.startswith("secret/")]
    assert "covey instance restore web1" in made.reasons[0]


def test_its_name_mac_and_address_are_free_at_once() -> None:
    view = a_cluster(extra=[GONE])
    assert not view.macs
    assert not view.addresses.get(a_network().id)
    assert of(view, AddInstance(name="web1", image="debian-12")).steps


def test_a_cluster_that_keeps_nothing_removes_at_once() -> None:
    cluster = a_cluster_record(defaults=Defaults(keep_removed_s=0.0))
    view = a_cluster(instances=[WEB], cluster=cluster)
    assert kinds(of(view, RemoveInstance(instance="web1"))).count("volume-absent") == 2
    assert kinds(of(view, RemoveDisk(instance="web1", disk=1)))[-1] == "volume-absent"


@pytest.mark.parametrize("state", ["adding", "purging"])
def test_of_what_was_never_whole_nothing_is_kept(state: str) -> None:
    made = of(a_cluster(instances=[replace(WEB, state=state)]), RemoveInstance(instance="web1"))
    assert "volume-absent" in kinds(made)


def test_a_removal_that_was_cut_short_still_keeps() -> None:
    assert (
        the_kept(a_cluster(instances=[replace(WEB, state="removing")]), RemoveInstance(instance="web1")).instance.state == "ready"
    )


def test_it_comes_back_as_it_was_but_stopped() -> None:
    view = a_cluster(extra=[GONE])
    made = of(view, RestoreInstance(instance="web1"))
    assert kinds(made) == ["volumes-found", "filtered", "defined"]
    back = restored(view)
    assert (back.id, back.disks, back.nics, back.state, back.desired) == (WEB.id, WEB.disks, WEB.nics, "restoring", "stopped")
    assert written(made, "begin")[f"state/removed/{WEB.id}"] is None
    assert written(made, "undone") == {f"state/instance/{WEB.id}": None, f"state/removed/{WEB.id}": GONE}


def test_it_can_be_started_in_the_same_breath() -> None:
    made = of(a_cluster(extra=[GONE]), RestoreInstance(instance="web1", start=True))
    assert kinds(made)[-1] == "running"
    with pytest.raises(NoSpace):
        of(a_cluster(extra=[GONE], memory=0), RestoreInstance(instance="web1", start=True))


def test_a_name_that_was_taken_meanwhile_needs_another() -> None:
    view = a_cluster(instances=[an_instance("web1", id="5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa", disks=())], extra=[GONE])
    with pytest.raises(Refused, match="--name"):
        of(view, RestoreInstance(instance="web1"))
    assert restored(view, name="web2").name == "web2"


def test_a_mac_and_an_address_that_were_taken_are_replaced_and_that_is_said() -> None:
    thief = an_instance("thief", nics=WEB.nics)
    made = of(a_cluster(instances=[thief], extra=[GONE]), RestoreInstance(instance="web1"))
    (nic,) = restored(a_cluster(instances=[thief], extra=[GONE])).nics
    assert nic.mac != WEB.nics[0].mac
    assert nic.address == "10.77.0.2"
    assert f"gets {nic.mac}, as {WEB.nics[0].mac} is taken; 10.77.0.2, as 10.77.0.10 is taken" in made.reasons[0]


def test_a_nic_whose_network_is_gone_is_left_out_and_that_is_said() -> None:
    view = a_cluster(networks=[], extra=[GONE])
    assert restored(view).nics == ()
    assert of(view, RestoreInstance(instance="web1")).reasons[0] == "NIC 0 is left out: its network is gone"


def test_its_forwards_come_back_with_it_and_lead_to_where_it_is_now() -> None:
    request = RemoveInstance(instance="web1")
    kept = the_kept(a_cluster(instances=[WEB], extra=[FORWARD]), request)
    assert kept.forwards == (FORWARD,)
    made = of(a_cluster(extra=[kept]), RestoreInstance(instance="web1"))
    (step,) = [step for step in made.steps if isinstance(step, EnsureNetwork)]
    assert step.network.entrances == (Entrance("tcp", 8080, "10.77.0.10", "", 80, ()),)
    assert step.before is not None
    assert step.before.entrances == ()
    assert written(made, "success")[f"state/forward/{FORWARD.id}"] == FORWARD
    assert f"network/{FORWARD.network}" in made.uses.exclusive
    assert f"forward/{FORWARD.id}" in made.uses.exclusive
    assert f"{FORWARD} leads to it again" in made.reasons


def test_a_forward_whose_port_was_taken_or_whose_network_hides_nobody_stays_away_and_that_is_said() -> None:
    kept = replace(GONE, forwards=(FORWARD,))
    for others, why in (
        (a_cluster(extra=[kept, replace(FORWARD, instance=an_id("other"))]), "the port leads elsewhere by now"),
        (a_cluster(networks=[replace(a_network(), nat=False)], extra=[kept]), "that has no NAT"),
        (a_cluster(networks=[], extra=[kept]), "it is not on that network any more"),
    ):
        made = of(others, RestoreInstance(instance="web1"))
        assert not [step for step in made.steps if isinstance(step, EnsureNetwork)]
        assert f"state/forward/{FORWARD.id}" not in written(made, "success")
        assert any("stays away" in reason and why in reason for reason in made.reasons), made.reasons


def test_what_its_uefi_remembers_is_kept_with_it_and_purged_with_it() -> None:
    uefi = replace(WEB, firmware="uefi")
    (absent,) = [
        step
        for step in of(a_cluster(instances=[uefi]), RemoveInstance(instance="web1")).steps
        if isinstance(step, EnsureInstanceAbsent)
    ]
    assert absent.keep_variables
    purged = of(a_cluster(extra=[replace(GONE, instance=uefi)]), PurgeRemoved(removed=WEB.id, name="x"))
    (last,) = [step for step in purged.steps if isinstance(step, EnsureInstanceAbsent)]
    assert not last.keep_variables


def test_the_latest_of_a_name_comes_back_and_an_older_one_by_its_id() -> None:
    other = a_removed(an_instance("web1", id="5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa", disks=()), removed_at=NOW + 9)
    view = a_cluster(extra=[GONE, other])
    assert restored(view).id == other.id
    made = of(view, RestoreInstance(instance=WEB.id))
    assert f"state/instance/{WEB.id}" in written(made, "begin")


def test_who_asks_for_a_removed_instance_is_told_how_it_comes_back() -> None:
    with pytest.raises(NotFound, match="covey instance restore web1"):
        of(a_cluster(extra=[GONE]), StartInstance(instance="web1"))
    with pytest.raises(NotFound, match="--removed"):
        of(a_cluster(), RestoreInstance(instance="web1"))


@pytest.mark.parametrize("request_of", [RemoveInstance(instance="web1", purge=True), PurgeRemoved(removed=WEB.id, name="x")])
def test_a_purge_takes_its_disks_and_its_secret(request_of: RemoveInstance) -> None:
    made = of(a_cluster(extra=[GONE]), request_of)
    assert kinds(made) == ["volume-absent", "volume-absent"]
    assert set(written(made, "success")) == {f"state/removed/{WEB.id}", "secret/s-1"}
    assert made.warnings


def test_a_purge_by_name_takes_the_living_one_first() -> None:
    living = an_instance("web1", id="5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa", disks=())
    made = of(a_cluster(instances=[living], extra=[GONE]), RemoveInstance(instance="web1", purge=True))
    assert kinds(made) == ["stopped", "instance-absent"]


def test_a_purge_by_id_never_takes_a_living_instance_of_that_name() -> None:
    living = an_instance(WEB.id, id="5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa")
    with pytest.raises(NotFound):
        of(a_cluster(instances=[living]), PurgeRemoved(removed=WEB.id, name="x"))


def test_images_and_pools_stay_while_removed_things_need_them() -> None:
    view = a_cluster(extra=[GONE])
    for request in (RemoveImage(image="debian-12"), RemovePool(pool="default")):
        with pytest.raises(Refused, match=r"instance web1.*covey instance remove web1 --purge"):
            of(view, request)
    assert of(view, RemoveNetwork(network="lan")).steps


def test_a_full_pool_names_what_could_be_purged() -> None:
    view = a_cluster(instances=[an_instance("db1")], extra=[GONE, LOST], space=Space(100 * GIB, 5 * GIB))
    with pytest.raises(NoSpace, match=r"takes 3G: covey instance remove web1 --purge \(2 removed things"):
        of(view, AddDisk(instance="db1", size=10 * GIB, format="raw"))


def test_a_kept_volume_is_no_orphan_and_its_uuid_is_taken() -> None:
    view = a_cluster(extra=[GONE])
    with pytest.raises(Refused, match="removed instance web1"):
        of(view, RemoveOrphanVolume(node="n1", volume=WEB.disks[0].volume))
    with pytest.raises(Refused, match="--purge"):
        of(view, AddInstance(name="new", image="debian-12", uuid=WEB.id))


def test_a_removed_disk_is_kept_and_comes_back_under_its_number() -> None:
    made = of(a_cluster(instances=[WEB]), RemoveDisk(instance="web1", disk=1))
    assert kinds(made) == ["volumes-found", "disk-detached"]
    kept = the_kept(a_cluster(instances=[WEB]), RemoveDisk(instance="web1", disk=1))
    assert (kept.id, kept.title) == (WEB.disks[1].volume.id, "disk web1/1")
    back = of(a_cluster(instances=[WITHOUT], extra=[kept]), RestoreDisk(instance="web1", disk=1))
    assert kinds(back) == ["volumes-found", "disk-attached"]
    assert getattr(back.steps[1], "disk", None) == DomainDisk(1, WEB.disks[1].volume)
    assert set(written(back, "success")) == {f"state/instance/{WEB.id}", f"state/removed/{kept.id}"}


def test_a_disk_that_was_frozen_comes_back_with_the_serial_number_that_its_guest_knows() -> None:
    disk = replace(WEB.disks[1], serial=an_id("volume/first"))
    kept = a_removed(replace(WEB, disks=(WEB.disks[0], disk)), disk)
    back = of(a_cluster(instances=[WITHOUT], extra=[kept]), RestoreDisk(instance="web1", disk=1))
    assert [step.disk.identity for step in back.steps if isinstance(step, EnsureDiskAttached)] == [disk.serial]


def test_a_disk_whose_number_was_taken_gets_another() -> None:
    taken = replace(WEB, disks=(WEB.disks[0], a_disk("new", 1)))
    back = of(a_cluster(instances=[taken], extra=[LOST]), RestoreDisk(instance="web1", disk=1))
    assert getattr(back.steps[1], "disk", DomainDisk(9, WEB.disks[1].volume)).index == 2


def test_a_disk_is_given_to_another_instance_only_when_that_is_said() -> None:
    namesake = an_instance("web1", id="5c0f3a56-0d0c-4c39-9d52-6ad7a0f2b1aa", disks=())
    view = a_cluster(instances=[namesake], extra=[LOST])
    with pytest.raises(Refused, match="add --to web1"):
        of(view, RestoreDisk(instance="web1", disk=1))
    assert of(view, RestoreDisk(instance="web1", disk=1, to="web1")).steps


def test_a_removed_disk_can_be_purged_and_its_instance_keeps_its_secret() -> None:
    made = of(a_cluster(instances=[WITHOUT], extra=[LOST]), RemoveDisk(instance="web1", disk=1, purge=True))
    assert kinds(made) == ["volume-absent"]
    assert set(written(made, "success")) == {f"state/removed/{LOST.id}"}


def test_the_network_of_a_removed_instance_may_be_another_by_now() -> None:
    other: Network = a_network("lan", "10.99.0")
    made = restored(a_cluster(networks=[other], pools=[a_pool()], extra=[GONE]))
    assert made.nics[0].address == "10.99.0.2"


@pytest.mark.parametrize(
    "request_of",
    [RemoveInstance(instance="web1"), RemoveInstance(instance="web1", purge=True), RemoveDisk(instance="web1", disk=1)],
)
def test_what_is_protected_is_not_removed_and_how_to_lift_that_is_said(request_of: RemoveInstance) -> None:
    view = a_cluster(instances=[replace(WEB, protected=True)])
    with pytest.raises(Refused, match="covey instance modify web1 --no-protected"):
        of(view, request_of)


def test_protection_and_owner_are_given_and_taken() -> None:
    asked = AddInstance(name="db1", image="debian-12", owner="anna", protected=True)
    (made,) = [record for record in written(of(a_cluster(), asked), "begin").values() if isinstance(record, Instance)]
    assert (made.owner, made.protected) == ("anna", True)
    lifted = of(
        a_cluster(instances=[replace(WEB, protected=True)]), ModifyInstance(instance="web1", protected=False, owner="bert")
    )
    (after,) = [record for record in written(lifted, "success").values() if isinstance(record, Instance)]
    assert (after.owner, after.protected) == ("bert", False)
