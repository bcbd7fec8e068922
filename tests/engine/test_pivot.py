"""The step from which there is no way back (P3): what it writes when it is done, and how a job learns whether it was."""

from __future__ import annotations

from typing import Any

from covey.base.errors import Refused, StepFailed, Unavailable
from covey.model.plan import Plan, delete, put
from covey.model.step import Step
from covey.model.steps.migration import EnsureMigrated
from covey.planner.instance.parts import domain_of
from tests.engine.stage import N1, WEB, Stage, a_plan, forward, undoable
from tests.kit.builders import a_cluster, an_id, an_instance
from tests.kit.virtual import in_virtual_time

KEY = f"state/instance/{WEB}"


def pivot() -> Step:
    web = an_instance()
    domain = domain_of(a_cluster(instances=[web]), web)
    return EnsureMigrated(
        node=N1, domain=domain, generation=2, to=an_id("node/n2"), to_name="n2", address="10.0.0.2:7444", disks=()
    )


def a_move(**parts: Any) -> Plan:
    return a_plan(undoable(), pivot(), forward(), pivoted=(put(an_instance()),), undone=(delete(an_instance()),), **parts)


@in_virtual_time
async def test_what_the_pivot_changes_is_written_with_it_and_not_with_the_end() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.hold("1.2")
    job = await stage.submit("a", a_move())
    await stage.reached(job, "running", 2)
    assert stage.record(KEY) == an_instance()


@in_virtual_time
async def test_a_pivot_that_is_the_last_step_writes_both() -> None:
    stage = await Stage().raise_curtain()
    plan = a_plan(undoable(), pivot(), pivoted=(put(an_instance()),), success=(put(an_instance("web2")),))
    job = await stage.ended(await stage.submit("a", plan))
    assert (job.state, stage.record(KEY)) == ("succeeded", an_instance())
    assert stage.record(f"state/instance/{an_instance('web2').id}")


@in_virtual_time
async def test_a_pivot_that_failed_and_was_not_done_is_taken_back_with_all_before_it() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", StepFailed("it was not moved"))
    job = await stage.ended(await stage.submit("a", a_move()))
    assert job.state == "failed" and job.error and job.error["what"] == "it was not moved"
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.undo", "1.0.undo"]
    assert stage.record(KEY) is None


@in_virtual_time
async def test_a_pivot_that_was_done_whatever_it_said_is_past() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", StepFailed("the way broke"))
    stage.nodes.undone["migrated@1"] = {"done": True}
    job = await stage.ended(await stage.submit("a", a_move()))
    assert (job.state, job.error) == ("succeeded", None)
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.undo", "1.2"]
    assert stage.record(KEY) == an_instance()


@in_virtual_time
async def test_while_nobody_knows_whether_it_was_done_nothing_is_taken_back() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", StepFailed("the way broke"))
    stage.nodes.fail("migrated@1.undo", Unavailable("it does not answer"), times=3)
    job = await stage.ended(await stage.submit("a", a_move()))
    assert job.state == "failed"
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.undo", "1.1.1.undo", "1.1.2.undo", "1.1.3.undo", "1.0.undo"]
    assert job.left == ()


@in_virtual_time
async def test_a_cancelled_pivot_is_given_up() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.hold("1.1")
    job = await stage.submit("a", a_move())
    await stage.ordered("1.1")
    await stage.engine.cancel(job, "anna")
    assert (await stage.ended(job)).state == "cancelled"
    assert stage.record(KEY) is None


@in_virtual_time
async def test_a_cancel_that_found_it_done_changes_nothing() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.hold("1.1")
    stage.nodes.undone["migrated@1"] = {"done": True}
    job = await stage.submit("a", a_move())
    await stage.ordered("1.1")
    await stage.engine.cancel(job, "anna")
    ended = await stage.ended(job)
    assert (ended.state, ended.cancelled_by) == ("succeeded", "")


@in_virtual_time
async def test_past_the_pivot_a_refused_step_is_tried_again_and_nothing_taken_back() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.2", Refused("it runs"))
    job = await stage.ended(await stage.submit("a", a_move()))
    assert job.state == "succeeded"
    assert stage.nodes.orders == ["1.0", "1.1", "1.2", "1.2.1"]


@in_virtual_time
async def test_the_next_leader_asks_again_whether_it_was_done() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", StepFailed("the way broke"))
    stage.nodes.hold("1.1.undo")
    job = await stage.submit("a", a_move())
    await stage.ordered("1.1.undo")
    await stage.crash()
    stage.nodes._held.clear()
    stage.nodes.undone["migrated@1"] = {"done": True}
    again = await stage.successor()
    assert (await again.ended(job)).state == "succeeded"
    assert again.record(KEY) == an_instance()
