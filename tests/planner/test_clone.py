"""instance clone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, NotFound, Refused
from covey.model.instance import Instance
from covey.model.pool import Space
from covey.model.requests.clone import CloneInstance
from covey.model.requests.instance import RemoveInstance
from covey.model.requests.snapshot import RemoveSnapshot
from covey.model.view import ClusterView
from covey.planner import plan
from covey.planner.instance.parts import seed_of
from tests.kit.builders import GIB, a_cluster, a_disk, a_nic, a_snapshot_of, an_instance, an_observed, asked
from tests.planner.test_instance import kinds
from tests.planner.test_snapshot import after

WEB = an_instance(disks=(a_disk("web1/0", 0), a_disk("web1/1", 1)), nics=(a_nic(),))
STOPPED = replace(WEB, desired="stopped")


def a_world(instance: Instance = WEB, space: Space | None = None) -> ClusterView:
    state = instance.desired
    return a_cluster(instances=[instance], extra=[an_observed(instance, state)], space=space or Space(1000 * GIB, 900 * GIB))


def cloned(view: ClusterView, **wish: bool | str) -> tuple[list[str], ClusterView]:
    request = CloneInstance(instance="web1", name="web2", **wish)  # type: ignore[arg-type]
    made = plan(view, asked(request))
    from covey.model.record import decoded

    begun = [(write.key, decoded(write.key, write.record or {})) for write in made.begin]
    view = view.apply(begun, view.revision + 1)
    changes = []
    for write in made.success:
        record = None if write.record is None else decoded(write.key, write.record)
        changes.append((write.key, record))
    steps = [kind for kind in kinds(made) if kind != "filtered"]  # that its NICs obey rules is told elsewhere
    return steps, view.apply(changes, view.revision + 1)


def test_a_clone_of_a_running_guest_lies_on_what_was_frozen_and_so_does_the_guest() -> None:
    steps, view = cloned(a_world())
    assert steps == ["overlay"] * 4 + ["seed", "defined", "frozen"]
    web1, web2 = view.instance("web1"), view.instance("web2")
    assert [disk.base for disk in web2.disks] == [disk.volume.id for disk in WEB.disks] == [disk.base for disk in web1.disks]
    assert {disk.volume.id for disk in web2.disks}.isdisjoint({disk.volume.id for disk in web1.disks})
    assert (web2.state, web2.desired, web2.generation) == ("ready", "stopped", 0)


def test_a_sealed_clone_is_a_machine_of_its_own() -> None:
    _, view = cloned(a_world())
    web2 = view.instance("web2")
    assert web2.nics[0].mac != WEB.nics[0].mac
    assert web2.nics[0].address not in ("", WEB.nics[0].address)
    assert web2.nics[0].up
    assert [disk.serial for disk in web2.disks] == ["", ""]
    seed = seed_of(view, web2)
    assert (seed.hostname, seed.identity, seed.sealed) == ("web2", "", True)


def test_an_identical_clone_is_the_same_inside_and_unplugged() -> None:
    _, view = cloned(a_world(replace(WEB, seeded=True)), identical=True)
    web2 = view.instance("web2")
    assert [disk.serial for disk in web2.disks] == [disk.volume.id for disk in WEB.disks]
    assert (web2.nics[0].up, web2.nics[0].address) == (False, "")
    assert seed_of(view, web2).identity == WEB.id


def test_a_clone_is_started_once_there_is_no_way_back() -> None:
    steps, view = cloned(a_world(), start=True)
    assert steps[-2:] == ["frozen", "generation"]
    assert view.instance("web2").desired == "running"


def test_a_clone_of_a_snapshot_leaves_the_guest_alone() -> None:
    instance, frozen = a_snapshot_of(WEB)
    view = a_cluster(instances=[instance], extra=[an_observed(instance), *frozen])
    steps, left = cloned(view, snapshot="first", start=True)
    assert steps == ["overlay", "overlay", "seed", "defined", "running"]
    assert left.instance("web1") == instance
    made, left = after(left, RemoveSnapshot(instance="web1", snapshot="first"))
    assert kinds(made) == []
    made, left = after(left, RemoveInstance(instance="web1", purge=True))
    assert {layer.id for layer in left.layers} == {disk.volume.id for disk in WEB.disks}
    made, left = after(left, RemoveInstance(instance="web2", purge=True))
    assert not list(left.layers)


def test_a_full_copy_lies_on_nothing_and_claims_the_most_it_can_take() -> None:
    steps, view = cloned(a_world(STOPPED), full=True)
    assert steps == ["copied", "copied", "seed", "defined"]
    assert [(disk.base, disk.image) for disk in view.instance("web2").disks] == [("", ""), ("", "")]
    assert not list(view.layers)
    with pytest.raises(NoSpace):
        cloned(a_world(STOPPED, Space(100 * GIB, 20 * GIB)), full=True)


def test_a_full_copy_of_a_running_guest_needs_a_snapshot_and_raw_disks_a_full_copy() -> None:
    with pytest.raises(Refused, match="runs"):
        cloned(a_world(), full=True)
    raw = replace(STOPPED, disks=(a_disk("raw", 0, format="raw"),))
    with pytest.raises(Refused, match="raw"):
        cloned(a_world(raw))
    assert cloned(a_world(raw), full=True)[0] == ["copied", "seed", "defined"]


def test_names_that_are_taken_or_not_there_are_told() -> None:
    with pytest.raises(Refused, match="taken"):
        plan(a_world(), asked(CloneInstance(instance="web1", name="web1")))
    with pytest.raises(NotFound):
        plan(a_world(), asked(CloneInstance(instance="web7", name="web2")))
    with pytest.raises(NotFound, match="first"):
        plan(a_world(), asked(CloneInstance(instance="web1", name="web2", snapshot="first")))
