"""instance move, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, Refused, Unavailable
from covey.controller.healer import is_in_use, to_clear
from covey.model.instance import Instance
from covey.model.plan import Plan
from covey.model.record import Record
from covey.model.request import Request
from covey.model.requests.instance import AddInstance
from covey.model.requests.move import ClearNode, MoveInstance
from covey.model.requests.node import RemoveNode
from covey.model.requests.pool import RemovePool
from covey.model.stale import Stale
from covey.model.steps.disk import EnsureVolumeBrought
from covey.model.view import ClusterView
from covey.planner import plan
from covey.planner.layers import Tree
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_disk,
    a_firewall,
    a_forward,
    a_network,
    a_nic,
    a_public_network,
    a_removed,
    a_snapshot_of,
    an_id,
    an_image,
    an_instance,
    an_observed,
    asked,
)

N1, N2, N3 = (an_id(f"node/n{number}") for number in (1, 2, 3))
IMAGE = an_image()
WEB = replace(
    an_instance("web1", disks=(replace(a_disk("web1/0"), image=IMAGE.id), a_disk("web1/1", 1)), nics=(a_nic(),)),
    desired="stopped",
    generation=4,
)


def a_pair(instance: Instance = WEB, *extra: Record, state: str = "stopped", nodes: int = 2, **about: object) -> ClusterView:
    seen = an_observed(instance, state)
    return a_cluster(nodes=nodes, instances=(instance,), extra=(seen, *extra), **about)  # type: ignore[arg-type]


def of(view: ClusterView, request: Request) -> Plan:
    return plan(view, asked(request))


def written(view: ClusterView, made: Plan) -> ClusterView:
    """The view once the plan has succeeded."""
    from covey.model.record import decoded

    changes = []
    for write in made.success:
        record = None if write.record is None else decoded(write.key, write.record)
        if record is not None and write.fields:
            present, _ = view.held(write.key)
            assert isinstance(present, Instance)
            record = replace(present, **{field: getattr(record, field) for field in write.fields})
        changes.append((write.key, record))
    return view.apply(changes, view.revision + 1)


def test_all_of_it_is_there_before_it_counts_and_the_old_is_marked_in_the_same_transaction() -> None:
    view = a_pair()
    made = of(view, MoveInstance(instance="web1"))
    assert [(step.kind, "n1" if step.node == N1 else "n2") for step in made.steps] == [
        ("volume-offered@1", "n1"),
        ("volume-offered@1", "n1"),
        ("image-brought@1", "n2"),
        ("volume-brought@1", "n2"),
        ("volume-brought@1", "n2"),
        ("filtered@1", "n2"),
        ("defined@1", "n2"),
    ]
    assert {step.role for step in made.steps} == {"undoable"}
    assert made.begin == ()
    after = written(view, made)
    moved = after.instance("web1")
    assert (moved.node, moved.generation, moved.nics, after.observed(moved.id).state) == (N2, 4, WEB.nics, "stopped")
    (stale,) = after.stale
    assert (stale.instance, stale.instance.generation, stale.since) == (WEB, 4, NOW)


def test_its_volumes_get_new_names_and_the_guest_knows_them_by_the_old_serials() -> None:
    view = a_pair()
    moved = written(view, of(view, MoveInstance(instance="web1"))).instance("web1")
    assert {disk.volume.id for disk in moved.disks}.isdisjoint(disk.volume.id for disk in WEB.disks)
    assert [disk.serial for disk in moved.disks] == [disk.volume.id for disk in WEB.disks]
    assert [disk.image for disk in moved.disks] == [IMAGE.id, ""]


def test_an_image_is_brought_from_where_the_disk_is_and_only_for_disks_that_lie_on_it() -> None:
    view = a_pair(instance=replace(WEB, node=N2), nodes=3)
    (brought,) = [step for step in of(view, MoveInstance(instance="web1", to="n3")).steps if step.kind == "image-brought@1"]
    assert (brought.node, getattr(brought, "origin", "")) == (N3, N2)
    raw = replace(WEB, disks=(replace(a_disk("web1/0", format="raw"), image=IMAGE.id),))
    steps = of(a_pair(raw), MoveInstance(instance="web1")).steps
    assert [step.image for step in steps if isinstance(step, EnsureVolumeBrought)] == [""]
    assert "image-brought@1" not in {step.kind for step in steps}


@pytest.mark.parametrize(("desired", "state"), [("running", "running"), ("running", "crashed"), ("stopped", "paused")])
def test_one_that_runs_or_should_is_not_moved_but_migrated(desired: str, state: str) -> None:
    with pytest.raises(Refused, match="run") as refused:
        of(a_pair(replace(WEB, desired=desired), state=state), MoveInstance(instance="web1"))
    assert "covey instance migrate web1" in refused.value.hint


def test_one_whose_node_is_silent_waits_for_it() -> None:
    view = a_pair().with_telemetry(N1, None)
    with pytest.raises(Unavailable, match="waits for n1"):
        of(view, MoveInstance(instance="web1"))


def test_snapshots_are_not_lost_in_silence() -> None:
    frozen, layered = a_snapshot_of(WEB)
    with pytest.raises(Refused, match="1 snapshot,") as refused:
        of(a_pair(frozen, *layered), MoveInstance(instance="web1"))
    assert refused.value.hint.startswith("remove them first: covey snapshot remove web1 ")


def test_a_disk_on_shared_layers_is_copied_whole_and_the_layers_go_with_the_old() -> None:
    frozen, layered = a_snapshot_of(WEB)
    view = a_pair(frozen, *[one for one in layered if not str(one).startswith("snapshot")])
    made = of(view, MoveInstance(instance="web1"))
    assert "image-brought@1" not in {step.kind for step in made.steps}
    after = written(view, made)
    assert {(disk.base, disk.image) for disk in after.instance("web1").disks} == {("", "")}
    assert len(Tree(after).layers) == 2
    cleared = of(after, ClearNode(node="n1"))
    assert len([step for step in cleared.steps if step.kind == "volume-absent@1"]) == 4
    assert not Tree(written(after, cleared)).layers


def test_it_goes_where_most_memory_is_free_and_where_it_can() -> None:
    busy = replace(an_instance("busy", node=N2), desired="running", memory=4 * GIB)
    view = a_pair(WEB, busy, nodes=3)
    assert of(view, MoveInstance(instance="web1")).summary.endswith("from n1 to n3")
    assert of(view, MoveInstance(instance="web1", to="n2")).summary.endswith("from n1 to n2")
    assert of(view.with_telemetry(N3, None), MoveInstance(instance="web1")).summary.endswith("to n2")
    assert of(view, MoveInstance(instance="web1", to="n1")).steps == ()
    with pytest.raises(Refused, match="no other node"):
        of(a_pair(nodes=1), MoveInstance(instance="web1"))


def test_a_node_without_its_firmware_is_none_for_it() -> None:
    with pytest.raises(Refused, match="cannot give its guests the CPU"):
        of(a_pair(replace(WEB, cpu_model="Skylake-Server")), MoveInstance(instance="web1"))


def test_a_raw_disk_needs_all_its_room_there() -> None:
    large = replace(WEB, disks=(a_disk("web1/0", size=2000 * GIB, format="raw"),))
    with pytest.raises(NoSpace):
        of(a_pair(large), MoveInstance(instance="web1"))


def test_a_person_is_told_what_is_otherwise_there() -> None:
    forward = a_forward(WEB)
    lost = a_removed(WEB, a_disk("web1/lost", 7))
    view = a_pair(replace(WEB, memory=100 * GIB), forward, lost)
    assert set(of(view, MoveInstance(instance="web1")).warnings) == {
        "n2 has not the memory to start it now",
        f"ports that lead to it are those of n2 then: {forward.name}",
        "1 removed disk of it stay where they are",
    }


# --- what is left --------------------------------------------------------------------------------------------------------------------
def left(view: ClusterView) -> ClusterView:
    return written(view, of(view, MoveInstance(instance="web1", to="n2")))


def test_what_is_left_goes_once_both_nodes_answer() -> None:
    view = left(a_pair(nodes=3))
    assert [node.name for node in to_clear(view)] == ["n1"]
    assert to_clear(view.with_telemetry(N1, None)) == []
    assert to_clear(view.with_telemetry(N2, None)) == [], "it may be all that can be read"
    assert [node.name for node in to_clear(view.with_telemetry(N3, None))] == ["n1"]
    made = of(view, ClearNode(node="n1"))
    assert [(step.kind, step.node) for step in made.steps] == [
        ("stopped@1", N1),
        ("instance-absent@1", N1),
        ("volume-absent@1", N1),
        ("volume-absent@1", N1),
    ]
    cleared = written(view, made)
    assert list(cleared.stale) == []
    assert cleared.instance("web1").node == N2
    assert to_clear(cleared) == []


def test_nothing_new_stands_where_the_old_still_is() -> None:
    view = left(a_pair())
    with pytest.raises(Unavailable, match="not cleared yet"):
        of(view, MoveInstance(instance="web1", to="n1"))
    with pytest.raises(Unavailable, match="not cleared yet"):
        of(view, MoveInstance(instance="web1"))
    gone = view.apply([(f"state/instance/{WEB.id}", None)], view.revision + 1)
    with pytest.raises(Refused, match="still there"):
        of(gone, AddInstance(name="web2", uuid=WEB.id))
    with pytest.raises(Unavailable, match="not cleared yet"):
        of(gone, RemovePool(pool="default"))


def test_a_node_with_something_left_is_not_taken_out() -> None:
    view = left(a_pair(images=()))
    with pytest.raises((Unavailable, Refused), match="not cleared yet"):
        of(view, RemoveNode(node="n1"))


def test_a_guests_routes_are_led_away_from_the_old_node() -> None:
    public = a_public_network()
    routed = replace(WEB, nics=(a_nic(number=30, network=public),))
    view = a_pair(routed, networks=(a_network(), public))
    made = of(view, MoveInstance(instance="web1"))
    assert [getattr(step, "new", None) for step in made.steps if step.kind == "routed@1"] == [True]
    after = written(view, made)
    assert [step.node for step in of(after, ClearNode(node="n1")).steps if step.kind == "not-routed@1"] == [N1]


def test_what_an_undo_left_of_a_move_is_nobodys_although_the_instance_is_there() -> None:
    made = of(a_pair(WEB, a_firewall()), MoveInstance(instance="web1"))
    view = a_pair(WEB, a_firewall())
    assert [step.kind for step in made.steps if step.node == N2 and is_in_use(view, step)] == []


def test_of_an_instance_that_is_gone_meanwhile_the_rest_goes_too() -> None:
    view = left(a_pair())
    gone = view.apply([(f"state/instance/{WEB.id}", None)], view.revision + 1)
    assert [node.name for node in to_clear(gone)] == ["n1"]
    assert isinstance(next(gone.stale), Stale)
