"""Jobs that begin others (P7): some at a time, each once, and the end follows from theirs."""

from __future__ import annotations

import asyncio

import pytest

from covey.base.errors import Refused
from covey.model.plan import Plan, change, put
from covey.model.requests.node import PingNode
from tests.engine.stage import Stage, a_plan, undoable
from tests.engine.test_exactly_once import Unreliable
from tests.kit.builders import a_node
from tests.kit.virtual import eventually, in_virtual_time

PARTS = ("a", "b", "c")
OBJECT = "drain/n1"


async def a_stage(stage: Stage | None = None) -> Stage:
    stage = await (stage or Stage()).raise_curtain(a_node())
    for part in PARTS:
        stage.plans[part] = a_plan(undoable(part), on=f"instance/{part}")
    return stage


def the_whole(at_once: int = 2, parts: tuple[str, ...] = PARTS) -> Plan:
    node = a_node()
    return a_plan(
        on=OBJECT, children=tuple(PingNode(node=part) for part in parts), at_once=at_once, success=(change(node, "notes"),)
    )


@in_virtual_time
async def test_children_are_jobs_of_their_own_some_at_a_time() -> None:
    stage = await a_stage()
    free = stage.nodes.hold("2.0")
    parent = await stage.submit("whole", the_whole(), reason="new memory")
    await stage.ordered("2.0")
    await stage.ended(3)
    await stage.ended(4)
    job = stage.job(parent)
    assert (job.state, job.children) == ("waiting", (2, 3, 4)), "one was slow, the others went on beside it"
    assert [stage.job(id).request.title for id in job.children] == [PingNode(node=part).title for part in PARTS]
    assert {(stage.job(id).parent, stage.job(id).user, stage.job(id).reason) for id in job.children} == {
        (1, "anna", "new memory")
    }
    free.set()
    assert (await stage.ended(parent)).state == "succeeded"
    assert stage.left_over() == []


@in_virtual_time
async def test_no_more_than_may_are_under_way() -> None:
    stage = await a_stage()
    free = stage.nodes.hold("2.0")
    parent = await stage.submit("whole", the_whole(at_once=1))
    await stage.ordered("2.0")
    await asyncio.sleep(30)
    assert stage.job(parent).children == (2,)
    free.set()
    await stage.ended(parent)


@in_virtual_time
async def test_one_that_fails_keeps_no_other_back_and_is_told_of_in_the_end() -> None:
    stage = await a_stage()
    stage.plans["b"] = Refused("it has a snapshot", "instance b")
    job = await stage.ended(await stage.submit("whole", the_whole()))
    assert job.state == "failed"
    assert job.error
    assert job.error["what"].startswith("1 of 3 parts failed: job 3 (node ping b): it has a snapshot")
    assert job.left == ("job 3 (node ping b): it has a snapshot",)
    assert [stage.job(id).state for id in job.children] == ["succeeded", "failed", "succeeded"]


@in_virtual_time
async def test_what_it_writes_itself_is_written_as_it_begins() -> None:
    stage = await a_stage()
    held = stage.nodes.hold("2.0")
    parent = await stage.submit("whole", the_whole())
    await stage.reached(parent, "waiting")
    assert stage.record(f"state/node/{a_node().id}") == a_node()
    held.set()
    await stage.ended(parent)


@pytest.mark.parametrize("task", ["2.0", "3.0", "4.0"])
@in_virtual_time
async def test_each_is_begun_once_whoever_leads(task: str) -> None:
    stage = await a_stage()
    free = stage.nodes.hold(task)
    parent = await stage.submit("whole", the_whole(at_once=1))
    await stage.ordered(task)
    await stage.crash()
    stage = await stage.successor()
    await asyncio.sleep(5)
    free.set()
    job = await stage.ended(parent)
    assert (job.state, job.children) == ("succeeded", (2, 3, 4))
    await stage.crash()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("each", [2, 3, 4, 5])
@in_virtual_time
async def test_a_store_of_unknown_outcome_begins_none_twice(each: int, after: bool) -> None:
    stage = await a_stage(Stage(faults=Unreliable(1000, after)))
    parent = await stage.submit("whole", the_whole())
    stage.store._faults = Unreliable(each, after)
    job = await stage.ended(parent)
    assert job.state == "succeeded"
    assert len(job.children) == len(PARTS)
    assert sorted(stage.job(id).request.title for id in job.children) == [PingNode(node=part).title for part in PARTS]


@in_virtual_time
async def test_cancelling_it_takes_back_what_is_under_way_and_begins_no_more() -> None:
    stage = await a_stage()
    stage.nodes.hold("2.0")
    parent = await stage.submit("whole", the_whole(at_once=1))
    await stage.ordered("2.0")
    await stage.engine.cancel(parent, "bert")
    job = await stage.ended(parent)
    assert (job.state, job.cancelled_by, job.children) == ("cancelled", "bert", (2,))
    child = await stage.ended(2)
    assert (child.state, child.cancelled_by) == ("cancelled", "bert")


@in_virtual_time
async def test_a_later_word_on_the_same_takes_its_place_and_its_children_go_on() -> None:
    stage = await a_stage()
    free = stage.nodes.hold("2.0")
    parent = await stage.submit("whole", the_whole(at_once=1))
    await stage.ordered("2.0")
    later = await stage.submit("undo", a_plan(on=OBJECT, success=(put(a_node()),)))
    assert (await stage.ended(later)).state == "succeeded"
    job = await stage.ended(parent)
    assert (job.state, job.children) == ("superseded", (2,))
    assert job.error
    assert "1 of 3 parts had begun" in job.error["what"]
    free.set()
    assert (await stage.ended(2)).state == "succeeded"


@in_virtual_time
async def test_it_holds_nothing_while_its_children_are_at_work() -> None:
    stage = await a_stage()
    free = stage.nodes.hold("2.0")
    await stage.submit("whole", the_whole(at_once=1))
    await stage.ordered("2.0")
    other = await stage.submit("other", a_plan(undoable("other"), on="node/n1"))
    assert (await stage.ended(other)).state == "succeeded"
    free.set()
    await eventually(lambda: not stage.left_over(), 1000.0)
