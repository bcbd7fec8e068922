"""What a crash, a deposed leader or a store of unknown outcome must not do (P1, P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from covey.base.errors import StepFailed, Unavailable
from covey.controller.lead import take_leadership
from covey.model.plan import Await, delete, put
from covey.store.memory import Faults
from covey.store.protocol import Batch, Compacted, Delete, Op, Put, Unchanged
from tests.engine.stage import WEB, Stage, a_plan, forward, undoable
from tests.kit.builders import an_instance
from tests.kit.virtual import eventually, in_virtual_time

KEY = f"state/instance/{WEB}"


class Unreliable(Faults):
    """Every `each`-th transaction fails, before it is written or after it."""

    def __init__(self, each: int, after: bool) -> None:
        self._each = each
        self._after = after
        self._count = 0

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        self._count += 1
        if not self._after:
            self._fail()

    async def after_txn(self, revision: int) -> None:
        if self._after:
            self._fail()

    def _fail(self) -> None:
        if self._count > 1 and self._count % self._each == 0:
            raise Unavailable("no answer", "store")


class Deaf(Faults):
    """The first `times` reads, and as many batches of the watch, fail."""

    def __init__(self, times: int, error: type[Unavailable] = Unavailable) -> None:
        self.times = times
        self._error = error

    async def before_read(self, key: str) -> None:
        if key.startswith(("secret/", "history/")):
            self._fail()

    async def before_batch(self, batch: Batch) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.times:
            self.times -= 1
            raise Compacted(1) if self._error is Compacted else Unavailable("no answer", "store")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("each", [2, 3])
def test_each_step_is_recorded_once_whatever_the_store_answers(each: int, after: bool) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage(faults=Unreliable(each, after)).raise_curtain()
        stage.plans["a"] = a_plan(undoable(), undoable(), forward(), success=(put(an_instance()),))
        for _ in range(4):
            try:
                await stage.submit("a")
            except Unavailable:
                continue  # whether it was written is not known to who submits
        await eventually(lambda: not stage.left_over(), 100.0)
        ended = stage.data.list("history/", "", 0, False).entries
        assert ended
        for entry in ended:
            id = int(entry.key.rpartition("/")[2])
            assert stage.job(id).state == "succeeded"
            assert len(stage.job(id).reports) == 3
            assert [order for order in stage.nodes.orders if order.startswith(f"{id}.")] == [f"{id}.{n}" for n in range(3)]

    test()


@pytest.mark.parametrize("error", [Unavailable, Compacted])
def test_the_feed_follows_again_after_its_watch_broke(error: type[Unavailable]) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage(faults=Deaf(3, error)).raise_curtain()
        assert (await stage.ended(await stage.submit("a", a_plan(undoable())))).state == "succeeded"
        await eventually(lambda: not stage.feed.view.collections["job"])

    test()


@in_virtual_time
async def test_a_store_that_cannot_be_read_for_a_while_only_delays_a_job() -> None:
    from covey.model.seed import Seed
    from covey.model.steps.instance import EnsureSeed

    faults = Deaf(0)
    stage = await Stage(faults=faults).raise_curtain()
    await stage.store.txn((), (Put("secret/s", b"#cloud-config"),))
    going_on = stage.nodes.hold("1.0")
    first = await stage.submit("a", a_plan(undoable(), EnsureSeed(node="n", seed=Seed(WEB, "w", (), ()), secret="s")))  # noqa: S106
    second = await stage.submit("b", a_plan(undoable()), after=(first,))
    await asyncio.sleep(1)
    faults.times = 4
    going_on.set()
    assert (await stage.ended(first)).state == "succeeded"
    assert (await stage.ended(second)).state == "succeeded"


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_new_leader_goes_on_where_the_old_one_recorded(step: int) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage().raise_curtain()
        going_on = stage.nodes.hold(f"1.{step}")
        id = await stage.submit("a", a_plan(undoable(), undoable(), forward(), on="instance/a", success=(put(an_instance()),)))
        await stage.ordered(f"1.{step}")
        await stage.crash()
        later = await stage.successor()
        blocked = await later.submit("b", a_plan(forward(), on="instance/a"))
        await asyncio.sleep(1)
        assert later.job(blocked).state == "queued", "the new leader forgot what the job holds"
        going_on.set()
        job = await later.ended(id)
        assert job.state == "succeeded"
        assert stage.nodes.orders[:4].count(f"1.{step}") == 2, "the step under way was not ordered again"
        assert all(stage.nodes.orders.count(f"1.{other}") == 1 for other in range(3) if other != step)
        assert stage.nodes.epochs[0] < stage.nodes.epochs[-1]
        assert later.record(KEY)
        await later.ended(blocked)

    test()


@pytest.mark.parametrize("step", [2, 1, 0])
def test_a_new_leader_goes_on_taking_back(step: int) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage().raise_curtain()
        stage.nodes.fail("1.2", StepFailed("no"))
        going_on = stage.nodes.hold(f"1.{step}.undo")
        plan = a_plan(undoable(), undoable(), undoable(), begin=(put(an_instance()),), undone=(delete(an_instance()),))
        id = await stage.submit("a", plan)
        await stage.ordered(f"1.{step}.undo")
        await stage.crash()
        later = await stage.successor()
        going_on.set()
        job = await later.ended(id)
        assert job.state == "failed"
        assert job.error
        assert job.error["what"] == "no"
        assert later.record(KEY) is None
        assert all(stage.nodes.orders.count(f"1.{other}.undo") == (2 if other == step else 1) for other in range(3))

    test()


@in_virtual_time
async def test_a_new_leader_goes_on_waiting_until_the_same_deadline() -> None:
    stage = await Stage().raise_curtain(an_instance())
    id = await stage.submit("a", a_plan(undoable(), awaits=Await("ready", WEB, 1, 60.0)))
    began = (await stage.reached(id, "waiting")).waiting_since
    await asyncio.sleep(40)
    await stage.crash()
    later = await stage.successor()
    job = await later.ended(id)
    assert job.state == "failed"
    assert job.ended_at - began == pytest.approx(60, abs=1)


@in_virtual_time
async def test_a_new_leader_still_ends_the_wait_that_a_later_job_took_over() -> None:
    """The old one died between the beginning of the later job and the end of the wait."""
    stage = await Stage().raise_curtain(an_instance())
    first = await stage.submit("a", a_plan(undoable(), on=f"instance/{WEB}", awaits=Await("ready", WEB, 1, 60.0)))
    await stage.reached(first, "waiting")
    waiting, plan = stage.data.get("state/job/0000000001"), stage.data.get("state/plan/0000000001")
    assert waiting
    assert plan
    stage.nodes.hold("2.0")
    await stage.submit("b", a_plan(forward(), on=f"instance/{WEB}"))
    await stage.ordered("2.0")
    await stage.crash()
    history = "history/job/0000000001"
    stage.data.write((), [Delete(history), Put(waiting.key, waiting.value), Put(plan.key, plan.value)])
    later = await stage.successor()
    assert (await later.ended(first, within=1.0)).state == "superseded"


@in_virtual_time
async def test_queued_jobs_outlive_their_leader_and_numbers_are_not_given_twice() -> None:
    stage = await Stage().raise_curtain()
    await stage.ended(await stage.submit("a", a_plan(undoable())))
    stage.nodes.hold("2.0")
    await stage.submit("b", a_plan(undoable(), on="instance/a"))
    queued = await stage.submit("c", a_plan(undoable(), on="instance/a"))
    await stage.ordered("2.0")
    await stage.crash()
    stage.nodes.hold("2.0").set()
    later = await stage.successor()
    assert (await later.ended(queued)).state == "succeeded"
    assert await later.submit("d", a_plan()) == 4


@in_virtual_time
async def test_a_deposed_leader_stops_everything_and_writes_nothing_more() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.0")
    id = await stage.submit("a", a_plan(undoable(), forward(), success=(put(an_instance()),)))
    other = await stage.submit("b", a_plan(undoable(), on="instance/b"))
    await stage.ended(other)
    await stage.ordered("1.0")
    await take_leadership(stage.store, stage.clock, "another")
    revision = stage.data.revision
    going_on.set()
    await eventually(lambda: stage.is_deposed)
    assert stage.data.revision == revision
    assert stage.nodes.orders == ["1.0", "2.0"]
    assert stage.job(id).step == 0


@in_virtual_time
async def test_a_deposed_leader_takes_no_job_in() -> None:
    stage = await Stage().raise_curtain()
    await take_leadership(stage.store, stage.clock, "another")
    with pytest.raises(Unavailable, match="leads"):
        await stage.submit("a", a_plan())
    await eventually(lambda: stage.is_deposed)
    assert stage.left_over() == []


@in_virtual_time
async def test_a_leader_sees_all_that_its_predecessor_wrote_before_it_begins() -> None:
    """Its feed may be behind: then a job would be taken up from where it no longer is."""

    class Late(Faults):
        async def before_batch(self, batch: Batch) -> None:
            await asyncio.sleep(1.0)

    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.1")
    late = Stage(stage.data, Late(), stage.nodes)
    await late.feed.start()
    id = await stage.submit("a", a_plan(undoable(), undoable(), forward()))
    await stage.ordered("1.1")
    await stage.crash()
    going_on.set()
    await late.lead()
    assert (await late.ended(id)).state == "succeeded"
    assert stage.nodes.orders == ["1.0", "1.1", "1.1", "1.2"]
