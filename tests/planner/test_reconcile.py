"""After a restore: the records are raised to what runs, and nobody is forgotten (S14)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import Refused
from covey.controller.hearing import changes_of
from covey.model.instance import Instance, Observed
from covey.model.node import Node
from covey.model.order import Observation
from covey.model.plan import Plan
from covey.model.record import Record, from_bytes, key_of
from covey.model.requests.cluster import FoundRun, ReconcileCluster
from covey.model.requests.instance import RemoveInstance, StartInstance, StopInstance
from covey.model.restoration import RESTORED, Restoration
from covey.model.view import ClusterView
from covey.planner import plan
from covey.store.protocol import Put
from tests.kit.builders import NOW, a_cluster, a_node, an_id, an_instance, an_observed, asked

OPEN = Restoration(RESTORED, NOW, NOW - 3600, 2, 12, 1000, "anna")
N1, N2 = a_node("n1"), a_node("n2")
WEB = an_instance("web1", generation=3)


def a_world(*instances: Instance, extra: tuple[Record, ...] = ()) -> ClusterView:
    return a_cluster(nodes=2, instances=list(instances), extra=[OPEN, *extra])


def reconciled(view: ClusterView, **wish: object) -> Plan:
    request = ReconcileCluster(**{"answered": (N1.id, N2.id), **wish})  # type: ignore[arg-type]
    return plan(view, asked(request))


def written(planned: Plan) -> dict[str, object]:
    import json

    return {write.key: from_bytes(write.key, json.dumps(write.record).encode()) for write in planned.success}


def test_until_then_nothing_is_started_changed_or_removed_but_a_person_may_stop_what_runs() -> None:
    view = a_world(WEB)
    for request in (StartInstance(instance="web1"), RemoveInstance(instance="web1")):
        with pytest.raises(Refused, match="may not say what runs") as refused:
            plan(view, asked(request))
        assert "covey cluster reconcile" in refused.value.hint
    assert plan(view, asked(StopInstance(instance="web1"))).steps


def test_when_all_nodes_have_answered_it_is_over() -> None:
    after = written(reconciled(a_world(WEB)))[key_of(OPEN)]
    assert isinstance(after, Restoration) and not after.is_open


def test_what_would_be_started_then_is_told_first() -> None:
    planned = reconciled(a_world(WEB, extra=(an_observed(WEB, "stopped"),)))
    assert "started after that, as they should run and do not: web1" in planned.reasons


def test_a_silent_node_must_be_declared_dead_by_name() -> None:
    view = a_world(WEB)
    with pytest.raises(Refused, match="n2 does not answer") as refused:
        reconciled(view, answered=(N1.id,))
    assert "--without n2 --because" in refused.value.hint
    planned = reconciled(view, answered=(N1.id,), without=("n2",), because="its disk is broken")
    records = written(planned)
    after, node = records[key_of(OPEN)], records[key_of(N2)]
    assert isinstance(after, Restoration) and (after.without, after.because) == (("n2",), "its disk is broken")
    assert isinstance(node, Node) and node.state == "behind"  # it hosts nothing before it has what the others have
    assert planned.warnings == ("n2 is declared dead: its disk is broken",)


def test_what_is_on_a_dead_node_waits_for_it() -> None:
    there = replace(WEB, node=N2.id)
    planned = reconciled(a_world(there), answered=(N1.id,), without=("n2",), because="it burned")
    assert "down until their nodes are back: web1" in planned.reasons


def test_a_node_that_answers_is_not_dead() -> None:
    with pytest.raises(Refused, match="n2 answers"):
        reconciled(a_world(WEB), without=("n2",), because="I do not like it")


def test_an_instance_is_recorded_where_it_runs() -> None:
    run = FoundRun(N2.id, WEB.id, "web1", "running", 5)
    after = written(reconciled(a_world(replace(WEB, desired="stopped")), found=(run,)))[key_of(WEB)]
    assert isinstance(after, Instance) and (after.node, after.generation, after.desired) == (N2.id, 5, "running")


def test_a_domain_left_behind_where_it_does_not_run_moves_nothing() -> None:
    run = FoundRun(N2.id, WEB.id, "web1", "stopped", 2)
    assert key_of(WEB) not in written(reconciled(a_world(WEB), found=(run,)))


def test_two_nodes_that_run_one_instance_are_for_a_person_to_part() -> None:
    runs = (FoundRun(N1.id, WEB.id, "web1", "running", 3), FoundRun(N2.id, WEB.id, "web1", "running", 5))
    with pytest.raises(Refused, match="two nodes run it") as refused:
        reconciled(a_world(WEB), found=runs)
    assert "covey local stop web1" in refused.value.hint


def test_what_no_record_names_is_told_and_left_alone() -> None:
    run = FoundRun(N1.id, an_id("stray"), "web9", "running", 1)
    planned = reconciled(a_world(WEB), found=(run,))
    assert planned.steps == ()
    assert "web9 on n1 is running and in no record: it is left alone" in planned.reasons


def test_where_nothing_was_brought_back_there_is_nothing_to_do() -> None:
    planned = plan(a_cluster(nodes=2, instances=[WEB]), asked(ReconcileCluster(answered=(N1.id, N2.id))))
    assert planned.success == ()


@pytest.mark.parametrize(
    ("recorded", "seen", "generation", "desired"),
    [
        (WEB, Observation(WEB.id, "running", "", 7, 1), 7, "running"),
        (replace(WEB, desired="stopped"), Observation(WEB.id, "running", "", 3, 1), 3, "running"),
        (replace(WEB, desired="stopped"), Observation(WEB.id, "paused", "", 4, 1), 4, "running"),
        (WEB, Observation(WEB.id, "stopped", "covey", 5, 0), 5, "running"),
        (replace(WEB, desired="stopped"), Observation(WEB.id, "crashed", "crashed", 5, 0), 5, "stopped"),
        (WEB, Observation(WEB.id, "stopped", "guest", 5, 0), 5, "stopped"),
    ],
)
def test_records_are_raised_to_what_a_node_reports(recorded: Instance, seen: Observation, generation: int, desired: str) -> None:
    view = a_world(recorded, extra=(an_observed(WEB),))
    after = recorded
    for op in changes_of(view, recorded.node, seen, NOW):
        record = from_bytes(op.key, op.value) if isinstance(op, Put) else None
        after = record if isinstance(record, Instance) else after
        assert isinstance(record, Instance | Observed)
    assert (after.generation, after.desired) == (generation, desired)


def test_one_transaction_writes_each_record_once() -> None:
    keys = [op.key for op in changes_of(a_world(WEB), WEB.node, Observation(WEB.id, "stopped", "guest", 5, 0), NOW)]
    assert len(keys) == len(set(keys))
