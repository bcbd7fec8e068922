"""Verbs of snapshots, and what becomes of the layers below."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, NotFound, Refused
from covey.model.instance import Instance
from covey.model.plan import Plan
from covey.model.pool import Space
from covey.model.record import Record, decoded
from covey.model.request import Request
from covey.model.requests.disk import RemoveDisk
from covey.model.requests.instance import RemoveInstance
from covey.model.requests.pool import RemovePool
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.model.snapshot import Layer, Snapshot
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.snapshot import EnsureMerged, EnsureOverlay
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, NOW, a_cluster, a_disk, a_snapshot_of, an_id, an_instance, an_observed, asked
from tests.planner.test_instance import kinds

WEB = an_instance(disks=(a_disk("web1/0", 0), a_disk("web1/1", 1)))


def a_world(instance: Instance, *extra: Record, state: str = "running", space: Space | None = None) -> ClusterView:
    seen = an_observed(instance, state)
    return a_cluster(instances=[instance], extra=[seen, *extra], space=space or Space(1000 * GIB, 900 * GIB))


def after(view: ClusterView, request: Request, seed: str = "5eed") -> tuple[Plan, ClusterView]:
    """The plan, and the view as it leaves it."""
    made = plan(view, asked(request, seed))
    changes = [(write.key, None if write.record is None else decoded(write.key, write.record)) for write in made.success]
    return made, view.apply(changes, view.revision + 1)


def twice(instance: Instance = WEB) -> ClusterView:
    """Two snapshots, one after the other."""
    view = a_world(instance)
    for name in ("first", "second"):
        _, view = after(view, AddSnapshot(instance="web1", name=name), name)
    return view


def test_all_disks_are_frozen_in_one_step_and_go_on_in_empty_volumes() -> None:
    made, view = after(a_world(WEB), AddSnapshot(instance="web1", name="first"))
    assert kinds(made) == ["overlay", "overlay", "frozen"]
    web = view.instance("web1")
    for old, new in zip(WEB.disks, web.disks, strict=True):
        assert new.volume.id != old.volume.id
        assert (new.base, new.serial, new.size, new.volume.format) == (old.volume.id, old.volume.id, old.size, "qcow2")
    snapshot = view.snapshot(web, "first")
    assert [disk.layer for disk in snapshot.disks] == [disk.volume.id for disk in WEB.disks]
    assert {layer.id for layer in view.layers} == {disk.volume.id for disk in WEB.disks}


def test_a_guest_knows_its_disk_by_the_same_serial_number_ever_after() -> None:
    web = twice().instance("web1")
    assert [disk.serial for disk in web.disks] == [disk.volume.id for disk in WEB.disks]


def test_a_snapshot_without_a_name_is_called_by_the_time() -> None:
    _, view = after(a_world(WEB), AddSnapshot(instance="web1"))
    (snapshot,) = view.snapshots(view.instance("web1"))
    assert snapshot.name == "20270115-080000"
    assert snapshot.created_at == NOW


def test_names_are_unique_within_an_instance_and_raw_disks_are_refused() -> None:
    with pytest.raises(Refused, match="first"):
        plan(twice(), asked(AddSnapshot(instance="web1", name="first")))
    raw = replace(WEB, disks=(a_disk("web1/0", 0), a_disk("raw", 1, format="raw")))
    with pytest.raises(Refused, match="raw"):
        plan(a_world(raw), asked(AddSnapshot(instance="web1")))
    with pytest.raises(Refused, match="no disks"):
        plan(a_world(replace(WEB, disks=())), asked(AddSnapshot(instance="web1")))
    with pytest.raises(NoSpace):
        plan(a_world(WEB, space=Space(100 * GIB, 5 * GIB)), asked(AddSnapshot(instance="web1")))


def test_removing_the_newest_takes_what_was_written_since_down_into_it() -> None:
    before = twice()
    made, view = after(before, RemoveSnapshot(instance="web1", snapshot="second"))
    assert kinds(made) == ["merged", "volume-absent"] * 2
    old = before.instance("web1").disks
    new = view.instance("web1").disks
    assert [disk.volume.id for disk in new] == [disk.base for disk in old]
    assert [disk.base for disk in new] == [disk.volume.id for disk in WEB.disks]
    assert [snapshot.name for snapshot in view.snapshots(view.instance("web1"))] == ["first"]


def test_removing_an_older_one_lets_its_layer_stand_for_the_next() -> None:
    before = twice()
    made, view = after(before, RemoveSnapshot(instance="web1", snapshot="first"))
    first = before.snapshot(before.instance("web1"), "first").disks[0].layer
    step = made.steps[0]
    assert isinstance(step, EnsureMerged)
    assert [volume.id for volume in step.above] == [before.instance("web1").disks[0].volume.id]
    (left,) = view.snapshots(view.instance("web1"))
    assert (left.name, left.disks[0].layer) == ("second", first)
    assert view.instance("web1").disks[0].base == first
    assert len(list(view.layers)) == 2


def test_when_all_snapshots_are_gone_the_disks_are_what_they_were() -> None:
    for order in (("first", "second"), ("second", "first")):
        view = twice()
        for name in order:
            _, view = after(view, RemoveSnapshot(instance="web1", snapshot=name))
        assert [disk.volume for disk in view.instance("web1").disks] == [disk.volume for disk in WEB.disks]
        assert [disk.base for disk in view.instance("web1").disks] == ["", ""]
        assert not list(view.layers)


def test_a_revert_makes_new_volumes_on_the_layers_and_drops_what_was_written_since() -> None:
    stopped = replace(WEB, desired="stopped")
    instance, frozen = a_snapshot_of(stopped)
    view = a_world(instance, *frozen, state="stopped")
    made, left = after(view, RevertSnapshot(instance="web1", snapshot="first"))
    assert kinds(made) == ["overlay", "overlay", "disks-replaced", "volume-absent", "volume-absent"]
    assert [disk.base for disk in left.instance("web1").disks] == [disk.volume.id for disk in WEB.disks]
    gone = [step.volume.id for step in made.steps if isinstance(step, EnsureVolumeAbsent)]
    assert gone == [disk.volume.id for disk in instance.disks]
    assert any("lost" in warning for warning in made.warnings)


def test_a_running_guest_is_reverted_only_when_it_may_be_cut() -> None:
    view = twice()
    with pytest.raises(Refused, match="runs"):
        plan(view, asked(RevertSnapshot(instance="web1", snapshot="first")))
    made = plan(view, asked(RevertSnapshot(instance="web1", snapshot="first", stop=True)))
    assert "stopped" in kinds(made)
    assert "second" in made.warnings[0]


def test_a_protected_instance_is_not_reverted() -> None:
    view = twice(replace(WEB, protected=True))
    with pytest.raises(Refused, match="it is protected"):
        plan(view, asked(RevertSnapshot(instance="web1", snapshot="first", stop=True)))


def test_a_revert_brings_back_a_removed_disk_and_the_size_it_had() -> None:
    view = twice(replace(WEB, desired="stopped"))
    grown = view.instance("web1")
    grown = replace(grown, disks=(replace(grown.disks[0], volume=replace(grown.disks[0].volume, size=20 * GIB)), grown.disks[1]))
    view = view.apply([(f"state/instance/{grown.id}", grown)], view.revision + 1)
    made, view = after(view, RemoveDisk(instance="web1", disk=1, purge=True))
    assert "first and second" in made.warnings[0]
    view = view.apply([(f"state/observed/{grown.id}", an_observed(grown, "stopped"))], view.revision + 1)
    made, view = after(view, RevertSnapshot(instance="web1", snapshot="first"))
    assert [(disk.index, disk.size) for disk in view.instance("web1").disks] == [(0, 10 * GIB), (1, 10 * GIB)]
    assert [warning for warning in made.warnings if "comes back" in warning or "not 20G" in warning]


def test_a_layer_on_which_another_instance_lies_stays_and_that_is_said() -> None:
    instance, frozen = a_snapshot_of(WEB)
    other = an_instance("web2", disks=(replace(a_disk("web2/0"), base=WEB.disks[0].volume.id),))
    view = a_cluster(instances=[instance, other], extra=[an_observed(instance), *frozen])
    made, left = after(view, RemoveSnapshot(instance="web1", snapshot="first"))
    assert "web2" in made.reasons[0]
    assert [layer.id for layer in left.layers] == [WEB.disks[0].volume.id]
    made, left = after(left, RemoveInstance(instance="web1", purge=True))
    assert [layer.id for layer in left.layers] == [WEB.disks[0].volume.id]
    made, left = after(left, RemoveInstance(instance="web2", purge=True))
    assert not list(left.layers)
    assert WEB.disks[0].volume.id in [step.volume.id for step in made.steps if isinstance(step, EnsureVolumeAbsent)]


def test_what_was_kept_for_a_clone_is_merged_with_the_next_snapshot_that_goes() -> None:
    instance, frozen = a_snapshot_of(replace(WEB, disks=WEB.disks[:1]))
    nameless = [record for record in frozen if isinstance(record, Layer)]
    view = a_world(instance, *nameless)
    _, view = after(view, AddSnapshot(instance="web1", name="second"))
    made, view = after(view, RemoveSnapshot(instance="web1", snapshot="second"))
    assert kinds(made) == ["merged", "volume-absent"] * 2
    assert view.instance("web1").disks[0].volume == WEB.disks[0].volume


def test_an_instance_goes_with_its_snapshots_and_a_pool_with_layers_does_not() -> None:
    view = twice()
    with pytest.raises(Refused):
        plan(view, asked(RemovePool(pool="default")))
    made, left = after(view, RemoveInstance(instance="web1", purge=True))
    assert not list(left.layers) and not list(left.all("snapshot", Snapshot))
    assert kinds(made).count("volume-absent") == 6


def test_what_removed_things_lie_on_is_not_given_up_and_the_way_out_is_named() -> None:
    view = twice()
    with pytest.raises(Refused, match="snapshots of web1"):
        plan(view, asked(RemovePool(pool="default")))
    _, left = after(view, RemoveInstance(instance="web1"))
    with pytest.raises(Refused, match="kept for a while: instance web1 ") as refused:
        plan(left, asked(RemovePool(pool="default")))
    assert refused.value.hint.endswith("covey instance remove web1 --purge")


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(NotFound, match="first"):
        plan(twice(), asked(RemoveSnapshot(instance="web1", snapshot="nowhere")))


def test_a_chain_has_an_end() -> None:
    layers: list[Record] = []
    base = ""
    for number in range(32):
        id = an_id(f"layer/{number}")
        layers.append(Layer(id, WEB.node, WEB.disks[0].pool, replace(WEB.disks[0].volume, id=id), WEB.id, NOW, base))
        base = id
    deep = replace(WEB, disks=(replace(WEB.disks[0], base=base),))
    with pytest.raises(Refused, match="32 layers"):
        plan(a_world(deep, *layers), asked(AddSnapshot(instance="web1")))
    assert EnsureOverlay.role == "undoable"


def test_a_removed_instance_keeps_its_snapshots_for_as_long_as_it_is_kept() -> None:
    made, left = after(twice(), RemoveInstance(instance="web1"))
    assert "volume-absent" not in kinds(made)
    assert (len(list(left.layers)), len(list(left.all("snapshot", Snapshot)))) == (4, 2)
    made, left = after(left, RemoveInstance(instance="web1", purge=True))
    assert kinds(made).count("volume-absent") == 6
    assert not list(left.layers) and not list(left.all("snapshot", Snapshot))


def test_a_layer_below_a_disk_that_is_only_kept_is_not_merged_under_it() -> None:
    instance, frozen = a_snapshot_of(replace(WEB, desired="stopped"))
    view = a_world(instance, *frozen, state="stopped")
    _, view = after(view, RemoveDisk(instance="web1", disk=1))
    made, left = after(view, RemoveSnapshot(instance="web1", snapshot="first"))
    assert kinds(made) == ["merged", "volume-absent"]
    assert "disk web1/1" in made.reasons[0]
    assert [layer.id for layer in left.layers] == [WEB.disks[1].volume.id]
    made, left = after(left, RemoveDisk(instance="web1", disk=1, purge=True))
    assert kinds(made) == ["volume-absent", "volume-absent"]
    assert not list(left.layers)
