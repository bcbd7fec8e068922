"""What the healer finds to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.controller.healer import is_in_use, over_and_left, to_restart
from covey.model.instance import Instance, Observed
from covey.model.plan import Plan, Uses
from covey.model.requests.instance import StartInstance
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.instance import EnsureDefined, EnsureRunning
from covey.model.steps.network import EnsureNetwork
from covey.planner.instance.parts import domain_of
from tests.kit.builders import (
    NOW,
    a_cluster,
    a_debris,
    a_job,
    a_network,
    a_plan_record,
    a_removed,
    a_volume,
    an_instance,
    an_observed,
)

WEB = an_instance("web1")


def restarts(instance: Instance, observed: Observed | None, *extra: object) -> list[str]:
    records = [observed] if observed else []
    view = a_cluster(instances=[instance], extra=[*records, *extra])  # type: ignore[list-item]
    return [found.name for found, _ in to_restart(view, sorted(view.collections["observed"]))]


@pytest.mark.parametrize("state", ["crashed", "stopped", "missing"])
def test_what_should_run_and_does_not_is_started(state: str) -> None:
    assert restarts(WEB, an_observed(WEB, state)) == ["web1"]


@pytest.mark.parametrize(
    ("instance", "observed"),
    [
        (WEB, an_observed(WEB, "running")),
        (WEB, an_observed(WEB, "paused")),  # its disk is full: starting it does not help
        (WEB, None),  # nobody has looked yet
        (replace(WEB, desired="stopped"), an_observed(WEB, "stopped")),
        (replace(WEB, state="adding"), an_observed(WEB, "stopped")),
        (replace(WEB, state="removing"), an_observed(WEB, "stopped")),
        (WEB, replace(an_observed(WEB, "crashed"), gave_up=True)),
    ],
)
def test_nothing_else_is_started(instance: Instance, observed: Observed | None) -> None:
    assert restarts(instance, observed) == []


def test_nothing_is_started_before_its_node_has_told_what_happened_there() -> None:
    view = a_cluster(instances=[WEB], extra=[an_observed(WEB, "crashed")], answering=False)
    assert to_restart(view, [WEB.id]) == []


def test_what_a_job_is_at_work_on_is_left_to_it() -> None:
    running = replace(a_job(7), state="running")
    plan = a_plan_record(7, Plan("start it", uses=Uses((f"instance/{WEB.id}",))))
    queued = a_job(8, StartInstance(instance="web1"))
    assert restarts(WEB, an_observed(WEB, "crashed"), running, plan) == []
    assert restarts(WEB, an_observed(WEB, "crashed"), queued) == []


def test_a_job_that_only_waits_keeps_nobody_from_healing() -> None:
    waiting = replace(a_job(7), state="waiting", waiting_since=NOW)
    plan = a_plan_record(7, Plan("start it", uses=Uses((f"instance/{WEB.id}",))))
    assert restarts(WEB, an_observed(WEB, "crashed"), waiting, plan) == ["web1"]


def test_debris_that_a_record_names_by_now_stays() -> None:
    network = a_network()
    view = a_cluster(instances=[WEB], networks=[network])
    volume = WEB.disks[0].volume
    assert is_in_use(view, EnsureVolume(node="n1", volume=volume, image=""))
    assert is_in_use(view, EnsureNetwork(node="n1", network=network))
    assert is_in_use(view, EnsureDefined(node=WEB.node, domain=domain_of(view, WEB)))


def test_debris_that_no_record_names_is_taken_back() -> None:
    view = a_cluster(networks=())
    steps: list[Step] = [
        EnsureVolume(node="n1", volume=a_volume("nobody's"), image=""),
        EnsureNetwork(node="n1", network=a_network()),
        EnsureDefined(node="n1", domain=domain_of(a_cluster(instances=[WEB]), WEB)),
    ]
    assert not any(is_in_use(view, step) for step in steps)


def test_a_run_that_could_not_be_ended_is_ended_later_also_of_an_instance_with_a_record() -> None:
    kept = a_cluster(extra=[a_removed(WEB)])
    assert is_in_use(kept, EnsureVolume(node="n1", volume=WEB.disks[0].volume, image="")), "it may come back"
    assert not is_in_use(a_cluster(instances=[WEB]), EnsureRunning(node="n1", instance=WEB.id, generation=1))


def test_debris_of_a_job_that_is_under_way_is_not_touched() -> None:
    debris = a_debris(7, EnsureVolume(node="n1", volume=a_volume(), image=""))
    undoing = replace(a_job(7), state="undoing")
    assert over_and_left(a_cluster(extra=[debris, undoing])) == []
    assert over_and_left(a_cluster(extra=[debris])) == [debris]
