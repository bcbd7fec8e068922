"""instance modify: what a running guest gets at once, and what waits for its next start."""

from __future__ import annotations

from typing import Any

import pytest

from covey.base.errors import BadInput, NoSpace
from covey.model.instance import Instance
from covey.model.plan import Plan
from covey.model.record import Record
from covey.model.requests.instance import ModifyInstance, RebootInstance
from covey.model.shape import shape_of
from covey.model.steps.instance import EnsureAskedToStop, EnsureDefined, EnsureGeneration, EnsureRedefined
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import GIB, a_cluster, an_image, an_instance, an_observed, asked


def running(instance: Instance | None = None, **changes: Any) -> ClusterView:
    """A cluster with web1 of 1 CPU and 1 GiB that runs as recorded, with the record `changes` since."""
    began = instance or an_instance()
    observed: Record = an_observed(began, live=shape_of(began))
    return a_cluster(instances=[an_instance(**changes) if changes else began], extra=[observed])


def modified(view: ClusterView, **wishes: Any) -> Plan:
    return plan(view, asked(ModifyInstance(instance="web1", **wishes)))


def test_tags_and_notes_change_in_the_record_alone() -> None:
    made = modified(running(), tags=("b", "a"), notes="x")
    assert made.steps == ()
    (write,) = made.success
    assert write.fields == ("tags", "notes")


def test_what_a_running_guest_cannot_take_is_said_to_wait_for_its_next_start() -> None:
    made = modified(running(), memory=2 * GIB, cpus=2)
    assert [type(step) for step in made.steps] == [EnsureRedefined]
    assert made.summary == "change cpus and memory of instance web1; at its next start: cpus 2, memory 2G"
    assert made.warnings == (
        "cpus 2 takes effect at the next start: covey instance reboot web1",
        "memory 2G takes effect at the next start: covey instance reboot web1",
    )


def test_what_a_running_guest_can_take_it_is_asked_for_at_once() -> None:
    grown = an_instance(max_cpus=4, max_memory=8 * GIB)
    made = modified(running(grown), memory=2 * GIB, cpus=2)
    assert made.warnings == ()
    assert made.summary == "change cpus and memory of instance web1"
    assert "memory 2G at once, after 1.0G" in " ".join(made.reasons) or "memory 2G at once, after 1G" in " ".join(made.reasons)


def test_the_iso_that_a_running_guest_is_to_give_up_is_told_by_its_name() -> None:
    made = modified(running(an_instance(iso=an_image().id)), iso="")
    assert made.reasons == ("the running guest is asked for iso none at once, after debian-12",)


def test_a_stopped_one_has_it_at_its_next_start_without_a_warning() -> None:
    made = modified(a_cluster(instances=[an_instance(desired="stopped")]), memory=2 * GIB)
    assert made.warnings == ()
    assert "its next start has it" in made.reasons[0]


def test_taking_it_back_restores_record_and_definition() -> None:
    made = modified(running(), memory=2 * GIB)
    (step,) = made.steps
    assert isinstance(step, EnsureRedefined)
    assert (step.before.memory, step.domain.memory) == (GIB, 2 * GIB)
    assert [(write.record or {})["memory"] for write in (*made.begin, *made.undone)] == [2 * GIB, GIB]


def test_a_reboot_is_planned_only_when_asked_and_only_when_something_waits() -> None:
    made = modified(running(), memory=2 * GIB, restart=True)
    assert [type(step) for step in made.steps] == [EnsureRedefined, EnsureAskedToStop, EnsureGeneration]
    hot = modified(running(an_instance(max_memory=8 * GIB)), memory=2 * GIB, restart=True)
    assert [type(step) for step in hot.steps] == [EnsureRedefined]


def test_what_waits_already_can_be_had_by_asking_for_a_reboot_alone() -> None:
    view = running(an_instance(), memory=2 * GIB)
    made = modified(view, restart=True)
    assert [type(step) for step in made.steps] == [EnsureRedefined, EnsureAskedToStop, EnsureGeneration]
    assert modified(running(), restart=True).steps == ()


def test_a_reboot_gives_the_guest_what_waited() -> None:
    made = plan(running(an_instance(), memory=2 * GIB), asked(RebootInstance(instance="web1")))
    defined = next(step for step in made.steps if isinstance(step, EnsureDefined))
    assert defined.domain.memory == 2 * GIB


@pytest.mark.parametrize(("wish", "hint"), [({"cpus": 5}, "--max-cpus 5"), ({"memory": 9 * GIB}, "--max-memory 9G")])
def test_more_than_the_declared_maximum_is_refused(wish: dict[str, int], hint: str) -> None:
    with pytest.raises(BadInput) as refusal:
        modified(running(an_instance(max_cpus=4, max_memory=8 * GIB)), **wish)
    assert hint in refusal.value.hint


def test_memory_that_the_node_does_not_have_is_refused() -> None:
    with pytest.raises(NoSpace):
        modified(running(), memory=100 * GIB)
    assert modified(a_cluster(instances=[an_instance(desired="stopped")]), memory=100 * GIB).steps


@pytest.mark.parametrize("restart", [False, True])
def test_more_cpus_than_the_machine_has_are_given_with_a_warning(restart: bool) -> None:
    assert not any("slower" in warning for warning in modified(running(), cpus=8, restart=restart).warnings)
    assert modified(running(), cpus=9, restart=restart).warnings[-1].startswith("it gets 9 CPUs, but n1 has 8")
