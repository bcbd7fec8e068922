"""Which job begins when (P1, P2, P15)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.base.errors import BadInput, NotFound, Refused, StepFailed
from covey.engine.queue import PATIENCE_S, Busy, blocked_by, in_order
from covey.model.plan import Claim, Plan, Uses, put
from covey.model.step import ResultOf
from covey.model.view import ClusterView
from covey.store.memory import Faults
from covey.store.protocol import Batch
from tests.engine.stage import Stage, a_plan, forward, undoable
from tests.kit.builders import a_cluster_record, a_job, an_instance
from tests.kit.virtual import eventually, in_virtual_time

WEB = "instance/web"


@in_virtual_time
async def test_jobs_that_touch_nothing_in_common_run_side_by_side() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.slow("running@1", 10.0)
    stage.plans = {
        "a": a_plan(undoable(), on="instance/a", shares="pool/p"),
        "b": a_plan(undoable(), on="instance/b", shares="pool/p"),
    }
    ids = await stage.submit_all("a", "b")
    began = stage.clock.monotonic()
    for id in ids:
        await stage.ended(id)
    assert stage.clock.monotonic() - began < 11


@in_virtual_time
async def test_jobs_on_one_object_run_one_after_the_other_and_say_for_whom_they_wait() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    first = await stage.submit("a", a_plan(undoable(), on=WEB))
    second = await stage.submit("b", a_plan(forward(), on=WEB))
    await asyncio.sleep(1)
    blocked = stage.engine.blocked(second)
    assert blocked
    assert (blocked.object, blocked.by) == (WEB, first)
    assert stage.nodes.orders == ["1.0"]
    going_on.set()
    assert (await stage.ended(second)).state == "succeeded"
    assert stage.engine.blocked(second) is None


@in_virtual_time
async def test_what_one_uses_alone_waits_for_all_who_share_it() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    await stage.submit("a", a_plan(undoable(), on="instance/a", shares="pool/p"))
    removal = await stage.submit("b", a_plan(forward(), on="pool/p"))
    await asyncio.sleep(1)
    assert stage.job(removal).state == "queued"
    going_on.set()
    assert (await stage.ended(removal)).state == "succeeded"


@in_virtual_time
async def test_a_blocked_job_holds_back_later_ones_that_conflict_with_it() -> None:
    """Else a stream of sharers would starve who wants the object alone."""
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    await stage.submit("a", a_plan(undoable(), on="instance/a", shares="pool/p"))
    await stage.submit("removal", a_plan(forward(), on="pool/p"))
    late = await stage.submit("c", a_plan(undoable(), on="instance/c", shares="pool/p"))
    free = await stage.submit("d", a_plan(undoable(), on="instance/d"))
    assert (await stage.ended(free)).state == "succeeded"
    assert stage.job(late).state == "queued"
    going_on.set()
    await stage.ended(late)
    assert stage.nodes.orders.index("2.0") < stage.nodes.orders.index("3.0")


@in_virtual_time
async def test_higher_priority_goes_first() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    await stage.submit("a", a_plan(undoable(), on=WEB))
    low = await stage.submit("b", a_plan(forward(), on=WEB))
    high = await stage.submit("c", a_plan(forward(), on=WEB), priority=10)
    going_on.set()
    await stage.ended(low)
    await stage.ended(high)
    assert stage.nodes.orders == ["1.0", "3.0", "2.0"]


def test_age_raises_priority() -> None:
    old = a_job(1, created_at=0.0)
    soon, late = (a_job(2, priority=2, created_at=age * PATIENCE_S) for age in (1, 3))
    assert in_order([old, soon], PATIENCE_S) == [soon, old]
    assert in_order([old, late], 3 * PATIENCE_S) == [old, late]


def test_of_equal_priority_the_older_goes_first() -> None:
    jobs = [a_job(3), a_job(1), a_job(2)]
    assert [job.id for job in in_order(jobs, jobs[0].created_at)] == [1, 2, 3]


USES = st.builds(
    Uses,
    st.lists(st.sampled_from("abc"), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from("def"), max_size=2, unique=True).map(tuple),
)


@given(st.lists(USES, min_size=1, max_size=6))
def test_what_is_released_is_free_again_and_nothing_else_is(uses: Sequence[Uses]) -> None:
    busy, taken = Busy(), []
    for number, use in enumerate(uses):
        if busy.blocker(use) is None:
            busy.take(number, use)
            taken.append((number, use))
    for number, use in taken[1:]:
        busy.release(number, use)
    assert all((busy.blocker(use) is not None) == bool(use.conflicts(taken[0][1])) for use in uses)
    busy.release(*taken[0])
    assert all(busy.blocker(use) is None for use in uses)


def test_conflict_is_mutual() -> None:
    one, other = Uses(("a",), ("b",)), Uses(("b",), ("c",))
    assert one.conflicts(other) == other.conflicts(one) == "b"
    assert Uses((), ("a",)).conflicts(Uses((), ("a",))) == ""
    assert blocked_by(Plan("", uses=one), Busy(), [(7, other)])


@in_virtual_time
async def test_each_plan_sees_what_the_plans_before_it_claimed() -> None:
    stage = await Stage().raise_curtain()
    seen = []

    def plan(view: ClusterView) -> Plan:
        seen.append(view.claimed.get("n1/p", 0))
        return a_plan(undoable(), claims=(Claim("n1", "p", 100),))

    stage.nodes.slow("running@1", 5.0)
    stage.plans = {"a": plan, "b": plan, "c": plan}
    for id in await stage.submit_all("a", "b"):
        await stage.reached(id, "running")
    await stage.submit("c")
    await stage.ended(3)
    assert seen == [0, 100, 200]
    assert not stage.feed.view.claimed.get("n1/p")


@in_virtual_time
async def test_each_plan_sees_what_was_claimed_before_it_also_when_the_feed_is_late() -> None:
    class Late(Faults):
        async def before_batch(self, batch: Batch) -> None:
            await asyncio.sleep(1.0)

    stage = await Stage(faults=Late()).raise_curtain()
    seen = []

    def plan(view: ClusterView) -> Plan:
        seen.append(view.claimed.get("n1/p", 0))
        return a_plan(undoable(), claims=(Claim("n1", "p", 100),))

    stage.nodes.slow("running@1", 60.0)
    stage.plans = {"a": plan, "b": plan}
    for id in await stage.submit_all("a", "b"):
        await stage.reached(id, "running")
    assert sorted(seen) == [0, 100]


@in_virtual_time
async def test_each_plan_sees_the_records_that_plans_before_it_began_with() -> None:
    stage = await Stage().raise_curtain()
    seen = []

    def plan(view: ClusterView) -> Plan:
        seen.append(sorted(instance.name for instance in view.instances))
        return a_plan(undoable(), begin=(put(an_instance(f"web{len(seen)}")),))

    stage.plans = {"a": plan, "b": plan}
    await stage.submit_all("a", "b")
    await stage.ended(2)
    assert seen == [[], ["web1"]]


@in_virtual_time
async def test_a_plan_on_a_record_that_changed_meanwhile_is_made_again() -> None:
    stage = await Stage().raise_curtain(an_instance())
    key = put(an_instance()).key
    changed: list[bool] = []

    def plan(view: ClusterView) -> Plan:
        if not changed:  # somebody writes between planning and commit
            from covey.model.record import to_bytes
            from covey.store.protocol import Put

            changed.append(True)
            stage.data.write((), [Put(key, to_bytes(an_instance(notes="changed")))])
        return a_plan(undoable(), on=key.removeprefix("state/"))

    job = await stage.ended(await stage.submit("a", plan))
    assert job.state == "succeeded"
    assert stage.planned == ["a", "a"]


@in_virtual_time
async def test_a_request_that_cannot_be_planned_fails_with_the_cause() -> None:
    stage = await Stage().raise_curtain()
    job = await stage.ended(await stage.submit("a", NotFound("there is no instance of that name", "instance web")))
    assert job.state == "failed"
    assert job.error
    assert job.error["kind"] == "NotFound"
    assert stage.history(1).plan is None


@in_virtual_time
async def test_a_planner_with_a_bug_fails_its_job_and_no_other() -> None:
    stage = await Stage().raise_curtain()

    def crash(view: ClusterView) -> Plan:
        raise ZeroDivisionError

    stage.plans = {"a": crash, "b": a_plan(undoable())}
    first, second = await stage.submit_all("a", "b")
    job = await stage.ended(first)
    assert job.error
    assert job.error["kind"] == "Bug"
    assert (await stage.ended(second)).state == "succeeded"


@in_virtual_time
async def test_a_plan_that_is_not_what_was_shown_is_not_carried_out() -> None:
    stage = await Stage().raise_curtain()
    shown = a_plan(undoable())
    same = await stage.submit("a", shown, expected=shown.digest)
    other = await stage.submit("b", a_plan(forward()), expected=shown.digest)
    assert (await stage.ended(same)).state == "succeeded"
    job = await stage.ended(other)
    assert job.state == "failed"
    assert job.error
    assert job.error["what"].startswith("plan_changed")


@in_virtual_time
async def test_a_job_waits_for_those_it_comes_after() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    first = await stage.submit("a", a_plan(undoable()))
    second = await stage.submit("b", a_plan(undoable()), after=(first,))
    await asyncio.sleep(5)
    assert stage.job(second).state == "queued"
    going_on.set()
    assert (await stage.ended(second)).state == "succeeded"


@in_virtual_time
async def test_a_failed_job_cancels_those_that_come_after_it() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.0", StepFailed("no"))
    first = await stage.submit("a", a_plan(undoable()))
    second = await stage.submit("b", a_plan(undoable()), after=(first,))
    third = await stage.submit("c", a_plan(undoable()), after=(second,))
    for id, cause in ((second, "job 1"), (third, "job 2")):
        job = await stage.ended(id)
        assert job.state == "cancelled"
        assert job.error
        assert cause in job.error["what"]
    assert stage.nodes.orders == ["1.0", "1.0.undo"]


@in_virtual_time
async def test_a_job_after_one_that_never_was_is_cancelled() -> None:
    stage = await Stage().raise_curtain()
    assert (await stage.ended(await stage.submit("a", a_plan(undoable()), after=(99,)))).state == "cancelled"


@in_virtual_time
async def test_jobs_that_come_after_themselves_or_each_other_are_cancelled() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    await stage.submit("a", a_plan(undoable()))
    itself = await stage.submit("b", a_plan(undoable()), after=(2,))
    each = await stage.submit("c", a_plan(undoable()), after=(1, 4))
    other = await stage.submit("d", a_plan(undoable()), after=(each,))
    going_on.set()
    assert (itself, each, other) == (2, 3, 4)
    assert [(await stage.ended(id)).state for id in (itself, each, other)] == ["cancelled"] * 3


@in_virtual_time
async def test_a_queued_job_can_be_cancelled() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    await stage.submit("a", a_plan(undoable(), on=WEB))
    second = await stage.submit("b", a_plan(undoable(), on=WEB))
    await asyncio.sleep(1)
    await stage.engine.cancel(second, "bert")
    job = await stage.ended(second)
    assert (job.state, job.cancelled_by) == ("cancelled", "bert")
    going_on.set()
    await stage.ended(1)
    assert stage.nodes.orders == ["1.0"]


@in_virtual_time
async def test_a_job_that_a_former_leader_began_is_not_taken_for_one_that_never_began() -> None:
    """A cancel that comes before the new leader has taken it up waits for that, and the job is undone."""
    former = await Stage().raise_curtain()
    former.nodes.hold("1.0")
    id = await former.submit("a", a_plan(undoable()))
    await former.ordered("1.0")
    await former.crash()
    stage = Stage(former.data, nodes=former.nodes)
    rising = asyncio.ensure_future(stage.raise_curtain())
    await eventually(lambda: hasattr(stage, "engine"), 10.0, 0.0)
    await stage.engine.cancel(id, "bert")
    await rising
    assert (await stage.ended(id)).state == "cancelled"
    assert stage.nodes.orders[-1] == "1.0.undo"


@in_virtual_time
async def test_a_job_whose_runner_failed_ends_says_what_it_left_and_frees_its_objects() -> None:
    stage = await Stage().raise_curtain()
    failing = stage.nodes.hold("1.0")
    lacking = a_plan(undoable(), success=(put(a_cluster_record(), accelerator=ResultOf(0, "what no step returns")),))
    id = await stage.submit("a", lacking)
    await stage.ordered("1.0")
    failing.set()
    job = await stage.ended(id)
    assert job.state == "needs_repair"
    assert job.error is not None
    assert job.error["kind"] == "Bug"
    assert len(job.left) == 1
    assert (await stage.ended(await stage.submit("a", a_plan(undoable())))).state == "succeeded"


@in_virtual_time
async def test_what_is_over_or_never_was_cannot_be_cancelled() -> None:
    stage = await Stage().raise_curtain()
    id = await stage.submit("a", a_plan(undoable()))
    await stage.ended(id)
    await asyncio.sleep(1)
    with pytest.raises(Refused, match="over already"):
        await stage.engine.cancel(id, "bert")
    with pytest.raises(NotFound):
        await stage.engine.cancel(99, "bert")


@in_virtual_time
async def test_three_hundred_jobs_at_once_all_end() -> None:
    stage = await Stage().raise_curtain()
    names = [f"j{number}" for number in range(300)]
    stage.plans = {name: a_plan(undoable(), on=f"instance/{number % 20}", shares="pool/p") for number, name in enumerate(names)}
    stage.plans["j150"] = a_plan(forward(), on="pool/p")
    ids = await stage.submit_all(*names)
    assert len(set(ids)) == 300
    await eventually(lambda: not stage.left_over(), 100.0)
    assert {stage.job(id).state for id in ids} == {"succeeded"}
    assert len(stage.nodes.orders) == 300


@in_virtual_time
async def test_a_request_too_large_for_the_store_is_refused_at_once() -> None:
    stage = await Stage().raise_curtain()
    with pytest.raises(BadInput, match="too many"):
        await stage.submit("a" * 300_000)
    assert stage.left_over() == []


@in_virtual_time
async def test_a_plan_too_large_for_the_store_fails_its_job_and_no_other() -> None:
    stage = await Stage().raise_curtain()
    big = an_instance(notes="x" * 400_000)
    stage.plans = {
        "a": a_plan(undoable(), on=WEB, begin=(put(big),), success=(put(big),), undone=(put(big),)),
        "b": a_plan(undoable(), on=WEB),
    }
    first, second = await stage.submit_all("a", "b")
    job = await stage.ended(first)
    assert job.error
    assert job.error["kind"] == "BadInput"
    assert (await stage.ended(second)).state == "succeeded"
