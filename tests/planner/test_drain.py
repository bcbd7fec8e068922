"""node drain, evacuate and undrain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from covey.base.errors import Refused
from covey.model import codec
from covey.model.plan import Plan
from covey.model.record import Record
from covey.model.request import Request
from covey.model.requests.drain import DrainNode, EvacuateNode, UndrainNode
from covey.model.requests.instance import AddInstance
from covey.model.requests.move import MoveInstance
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import NOW, a_cluster, a_disk, a_node, a_snapshot_of, an_id, an_instance, an_observed, asked

N1 = an_id("node/n1")
STOPPED = [replace(an_instance(f"off{number}", disks=(a_disk(f"off{number}/0"),)), desired="stopped") for number in range(3)]
RUNNING = an_instance("on1", disks=(a_disk("on1/0"),))


def a_flock(*extra: Record, nodes: int = 2) -> ClusterView:
    seen = [an_observed(one, "stopped") for one in STOPPED] + [an_observed(RUNNING)]
    return a_cluster(nodes=nodes, instances=(*STOPPED, RUNNING), extra=(*seen, *extra))


def of(view: ClusterView, request: Request) -> Plan:
    return plan(view, asked(request))


def node_after(made: Plan) -> dict[str, Any]:
    (write,) = [write for write in made.success if write.key.startswith("state/node/")]
    assert write.record
    assert set(write.fields) == {"drained_at", "drain_reason"}
    return write.record


def without_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {kind: cls for kind, cls in codec.members(Request).items() if kind != "instance.migrate"}
    monkeypatch.setattr("covey.planner.draining.codec.members", lambda family: members)


def test_draining_marks_the_node_and_leaves_what_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    without_migration(monkeypatch)
    made = of(a_flock(), DrainNode(node="n1", reason="new memory"))
    assert (node_after(made)["drained_at"], node_after(made)["drain_reason"]) == (NOW, "new memory")
    assert made.children == ()
    assert made.warnings[:2] == (
        "off0 stays: it is stopped; that goes with: covey node evacuate n1",
        "off1 stays: it is stopped; that goes with: covey node evacuate n1",
    )
    assert made.warnings[3].startswith("on1 stays: it runs")


def test_what_is_evacuated_goes_by_jobs_of_its_own_some_at_a_time() -> None:
    made = of(a_flock(), EvacuateNode(node="n1"))
    assert [child for child in made.children if isinstance(child, MoveInstance)] == [
        MoveInstance(instance=one.name) for one in STOPPED
    ]
    assert made.at_once == 2
    assert made.reasons[0] == "move instance off0 from n1 to n2"


def test_what_cannot_go_is_told_with_its_reason_and_keeps_nobody_back() -> None:
    frozen, layered = a_snapshot_of(STOPPED[1])
    view = a_flock(*layered, frozen)
    made = of(view, EvacuateNode(node="n1"))
    assert "off1" not in {getattr(child, "instance", "") for child in made.children}
    assert "off1 stays: it has 1 snapshot, which would not come along" in made.warnings


def test_a_node_alone_is_drained_although_nothing_can_go() -> None:
    made = of(a_flock(nodes=1), EvacuateNode(node="n1"))
    assert made.children == ()
    assert "off0 stays: there is no other node that hosts" in made.warnings


def test_nothing_new_comes_to_a_drained_node() -> None:
    drained = replace(a_node("n2"), drained_at=NOW, drain_reason="new memory")
    view = a_flock(drained)
    assert of(view, AddInstance(name="new", disks=(), nics=())).summary == "make instance new on n1"
    with pytest.raises(Refused, match="is drained \\(new memory\\)") as refused:
        of(view, AddInstance(name="new", disks=(), nics=(), node="n2"))
    assert refused.value.hint == "covey node undrain n2"
    with pytest.raises(Refused, match="no other node"):
        of(view, MoveInstance(instance="off0"))


def test_undraining_lets_it_host_again_and_says_so_once() -> None:
    drained = replace(a_node(), drained_at=NOW, drain_reason="new memory")
    made = of(a_flock(drained), UndrainNode(node="n1"))
    assert (node_after(made)["drained_at"], node_after(made)["drain_reason"]) == (0.0, "")
    assert of(a_flock(), UndrainNode(node="n1")).success == ()


def test_a_later_word_on_draining_takes_the_place_of_an_earlier_one_and_of_nothing_else() -> None:
    view = a_flock()
    one, other = of(view, EvacuateNode(node="n1")), of(view, DrainNode(node="n1"))
    assert set(one.uses.exclusive) == set(other.uses.exclusive)
    move = of(view, MoveInstance(instance="off0"))
    assert one.uses.conflicts(move.uses) == ""


def test_what_goes_is_part_of_what_was_shown() -> None:
    one, other = of(a_flock(), EvacuateNode(node="n1")), of(a_flock(), DrainNode(node="n1"))
    assert one.digest != other.digest
    fewer = replace(one, children=one.children[:1])
    assert fewer.digest != one.digest
