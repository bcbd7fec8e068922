"""How one job goes: forward, back, wait (P3, P5, P8, P15)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from covey.base.errors import NoSpace, Refused, StepFailed, Unavailable
from covey.engine.runner import KEPT_LOG, RETRIES, UNDO_TIMEOUT_S
from covey.model import record as records
from covey.model.plan import Await, change, delete, put
from covey.model.seed import Seed
from covey.model.step import ResultOf
from covey.model.steps.instance import EnsureSeed
from covey.store.memory import Faults
from covey.store.protocol import Batch, Put
from tests.engine.stage import WEB, Stage, a_plan, forward, in_place, undoable
from tests.kit.builders import a_cluster_record, a_disk, an_instance, an_observed
from tests.kit.virtual import in_virtual_time

KEY = f"state/instance/{WEB}"


class SlowFeed(Faults):
    """Changes come to the view a while after they are written."""

    async def before_batch(self, batch: Batch) -> None:
        await asyncio.sleep(0.5)


@in_virtual_time
async def test_a_job_runs_its_steps_in_order_and_writes_what_it_meant_to_change() -> None:
    stage = await Stage().raise_curtain()
    instance = an_instance()
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), forward(), success=(put(instance),))))
    assert job.state == "succeeded"
    assert stage.nodes.orders == ["1.0", "1.1"]
    assert stage.nodes.acknowledged == ["1.0", "1.1"]
    assert stage.record(KEY) == instance
    assert stage.left_over() == []


@in_virtual_time
async def test_a_plan_without_steps_is_over_with_its_one_transaction() -> None:
    stage = await Stage().raise_curtain()
    job = await stage.ended(await stage.submit("a", a_plan(success=(put(an_instance()),))))
    assert job.state == "succeeded"
    assert stage.record(KEY)
    assert stage.nodes.orders == []


@in_virtual_time
async def test_results_of_steps_are_filled_into_records() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.results["running@1"] = {"accelerator": "kvm"}
    plan = a_plan(undoable(), success=(put(a_cluster_record(), accelerator=ResultOf(0, "accelerator")),))
    await stage.ended(await stage.submit("a", plan))
    assert stage.record("state/cluster/cluster").accelerator == "kvm"


@in_virtual_time
async def test_what_was_written_to_a_record_while_the_job_ran_stays() -> None:
    """A guest shuts itself down while a disk is being added to it."""
    before = an_instance()
    stage = await Stage().raise_curtain(before)
    going_on = stage.nodes.hold("1.0")
    after = replace(before, disks=(a_disk(),))
    id = await stage.submit("a", a_plan(undoable(), on=f"instance/{WEB}", success=(change(after, "disks"),)))
    await stage.ordered("1.0")
    stopped = replace(before, desired="stopped", desired_by="guest")
    await stage.ledger.write([Put(KEY, records.to_bytes(stopped))])
    going_on.set()
    assert (await stage.ended(id)).state == "succeeded"
    assert stage.record(KEY) == replace(stopped, disks=after.disks)


@in_virtual_time
async def test_a_record_that_changes_at_the_very_end_of_a_job_is_looked_at_again() -> None:
    """The feed is behind: the job's last transaction finds another record than the view shows."""
    before = an_instance()
    stage = await Stage(faults=SlowFeed()).raise_curtain(before)
    going_on = stage.nodes.hold("1.0")
    after = replace(before, disks=(a_disk(),))
    id = await stage.submit("a", a_plan(undoable(), on=f"instance/{WEB}", success=(change(after, "disks"),)))
    await stage.ordered("1.0")
    stopped = replace(before, desired="stopped", desired_by="guest")
    await stage.ledger.write([Put(KEY, records.to_bytes(stopped))])
    assert stage.feed.view.find("instance", WEB) == before
    going_on.set()
    assert (await stage.ended(id)).state == "succeeded"
    assert stage.record(KEY) == replace(stopped, disks=after.disks)


@in_virtual_time
async def test_an_ended_job_is_kept_with_its_plan_its_reports_and_its_log() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.slow("running@1", 3.0)
    plan = a_plan(undoable())
    id = await stage.submit("a", plan)
    job = await stage.ended(id)
    assert stage.history(id).plan == plan
    assert job.reports[0].ended_at - job.reports[0].started_at == pytest.approx(3.0)
    assert job.log == "1.0 went well\n"


@in_virtual_time
async def test_of_a_long_log_the_end_is_kept() -> None:
    stage = await Stage().raise_curtain()
    job = await stage.ended(await stage.submit("a", a_plan(*[undoable()] * 400)))
    assert len(job.log) == KEPT_LOG
    assert job.log.endswith("1.399 went well\n")


@in_virtual_time
async def test_a_failed_step_is_taken_back_with_all_before_it_in_reverse() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.2", StepFailed("QEMU said no"))
    plan = a_plan(undoable(), undoable(), undoable(), begin=(put(an_instance()),), undone=(delete(an_instance()),))
    job = await stage.ended(await stage.submit("a", plan))
    assert job.state == "failed"
    assert job.error
    assert job.error["what"] == "QEMU said no"
    assert stage.nodes.orders == ["1.0", "1.1", "1.2", "1.2.undo", "1.1.undo", "1.0.undo"]
    assert all(report.undone_at for report in job.reports)
    assert stage.record(KEY) is None, "what was written at the beginning stayed"
    assert stage.left_over() == []


@in_virtual_time
async def test_a_cancelled_step_is_not_waited_for_but_taken_back() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.hold("1.1")
    id = await stage.submit("a", a_plan(undoable(), undoable(), forward()))
    await stage.ordered("1.1")
    await stage.engine.cancel(id, "bert")
    job = await stage.ended(id)
    assert (job.state, job.cancelled_by) == ("cancelled", "bert")
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.undo", "1.0.undo"]


@in_virtual_time
async def test_past_its_first_forward_step_a_job_cannot_be_cancelled() -> None:
    stage = await Stage().raise_curtain()
    going_on = stage.nodes.hold("1.1")
    id = await stage.submit("a", a_plan(undoable(), forward()))
    await stage.ordered("1.1")
    with pytest.raises(Refused, match="past the point"):
        await stage.engine.cancel(id, "bert")
    going_on.set()
    assert (await stage.ended(id)).state == "succeeded"


@in_virtual_time
async def test_a_cancel_that_came_too_late_says_so() -> None:
    """It arrives while the outcome of the last undoable step is being recorded."""
    stage = await Stage().raise_curtain()
    id = await stage.submit("a", a_plan(undoable()))
    answers: list[asyncio.Future[None]] = []

    def cancel(before: object, after: object, changes: object) -> None:
        if not answers and stage.job(id).state == "running":
            answers.append(asyncio.ensure_future(stage.engine.cancel(id, "bert")))

    stage.feed.listen(cancel)
    job = await stage.ended(id)
    (said,) = await asyncio.gather(*answers, return_exceptions=True)
    assert (job.state == "cancelled") == (said is None)
    assert said is None or isinstance(said, Refused)


@in_virtual_time
async def test_a_forward_step_is_tried_again_with_growing_pauses() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("stopped@1", StepFailed("busy"), times=3)
    began = stage.clock.monotonic()
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), forward())))
    assert job.state == "succeeded"
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.1", "1.1.2", "1.1.3"]
    assert stage.clock.monotonic() - began == pytest.approx(1 + 2 + 4, abs=0.2)


@in_virtual_time
async def test_what_cannot_be_finished_needs_repair_and_says_by_which_command() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", StepFailed("busy"))
    for attempt in range(1, RETRIES + 1):
        stage.nodes.fail(f"1.1.{attempt}", StepFailed("busy"))
    plan = a_plan(forward(), forward(), repair="covey instance remove web1", success=(put(an_instance()),))
    job = await stage.ended(await stage.submit("a", plan))
    assert job.state == "needs_repair"
    assert job.error
    assert "covey instance remove web1" in job.error["hint"]
    assert stage.record(KEY) is None, "what did not come about was recorded"
    assert stage.left_over() == []


@pytest.mark.parametrize("error", [Refused("not so"), NoSpace("no room")])
def test_a_first_forward_step_that_is_refused_takes_back_what_was_written(error: Refused) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage().raise_curtain(an_instance())
        stage.nodes.fail("1.1", error)
        begin, undone = put(an_instance(desired="stopped")), put(an_instance())
        job = await stage.ended(await stage.submit("a", a_plan(undoable(), forward(), begin=(begin,), undone=(undone,))))
        assert job.state == "failed"
        assert stage.nodes.orders == ["1.0", "1.1", "1.0.undo"]
        assert stage.record(KEY).desired == "running"

    test()


@pytest.mark.parametrize("later", [StepFailed("libvirt does not answer"), Refused("not so")])
def test_nobody_says_that_nothing_changed_once_a_change_in_place_was_not_answered(later: Refused | StepFailed) -> None:
    @in_virtual_time
    async def test() -> None:
        stage = await Stage().raise_curtain(an_instance())
        stage.nodes.fail("1.0", StepFailed("libvirt does not answer"))
        for attempt in range(1, RETRIES + 1):
            stage.nodes.fail(f"1.0.{attempt}", later)
        job = await stage.ended(await stage.submit("a", a_plan(in_place(), repair="covey disk grow web1 0 9G")))
        assert job.state == "needs_repair"
        assert job.error
        assert "covey disk grow web1 0 9G" in job.error["hint"]
        assert stage.left_over() == []

    test()


@in_virtual_time
async def test_a_change_in_place_that_is_refused_at_once_changed_nothing() -> None:
    stage = await Stage().raise_curtain(an_instance())
    stage.nodes.fail("1.0", NoSpace("no room"))
    assert (await stage.ended(await stage.submit("a", a_plan(in_place())))).state == "failed"


@in_virtual_time
async def test_a_later_forward_step_that_is_refused_is_tried_again() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1", Refused("the guest does not let go"))
    job = await stage.ended(await stage.submit("a", a_plan(forward(), forward())))
    assert job.state == "succeeded"
    assert stage.nodes.orders == ["1.0", "1.1", "1.1.1"]


@in_virtual_time
async def test_what_cannot_be_taken_back_in_time_becomes_debris() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.hold("1.0.undo")
    stage.nodes.fail("1.1", StepFailed("no"))
    began = stage.clock.monotonic()
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), undoable())))
    debris = stage.record("state/debris/1.0")
    assert job.state == "failed"
    assert job.left == ("running: no answer within 60 s",)
    assert (debris.job, debris.step) == (1, undoable())
    assert stage.clock.monotonic() - began == pytest.approx(UNDO_TIMEOUT_S, abs=1)


@in_virtual_time
async def test_an_undo_that_fails_becomes_debris_and_the_others_go_on() -> None:
    stage = await Stage().raise_curtain()
    stage.nodes.fail("1.1.undo", Unavailable("libvirt is away"))
    stage.nodes.fail("1.1", StepFailed("no"))
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), undoable())))
    assert stage.nodes.orders[-2:] == ["1.1.undo", "1.0.undo"]
    assert stage.record("state/debris/1.1").why == "libvirt is away"
    assert stage.record("state/debris/1.0") is None
    assert job.left == ("running: libvirt is away",)


@in_virtual_time
async def test_secrets_are_sent_with_the_order_and_not_with_its_undo() -> None:
    from covey.model.seed import Seed
    from covey.model.steps.instance import EnsureSeed

    stage = await Stage().raise_curtain()
    await stage.store.txn((), [Put("secret/s1", b"#cloud-config")])
    step = EnsureSeed(node="n", seed=Seed(WEB, "web1", (), ()), secret="s1")  # noqa: S106
    stage.nodes.fail("1.1", StepFailed("no"))
    await stage.ended(await stage.submit("a", a_plan(step, undoable())))
    assert stage.nodes.secrets["1.0"] == {"s1": "#cloud-config"}
    assert stage.nodes.secrets["1.0.undo"] == {}


AWAITS = Await("ready", WEB, 3, 60.0)


@in_virtual_time
async def test_a_waiting_job_succeeds_when_its_generation_is_ready() -> None:
    stage = await Stage().raise_curtain(an_instance(generation=3))
    id = await stage.submit("a", a_plan(undoable(), awaits=AWAITS))
    await stage.reached(id, "waiting")
    for generation, state in ((2, "waiting"), (3, "succeeded")):
        await stage.ledger.write([_observed(generation)])
        await asyncio.sleep(1)
        assert stage.job(id).state == state


@in_virtual_time
async def test_a_guest_that_was_ready_before_the_wait_began_is_ready() -> None:
    stage = await Stage().raise_curtain(an_instance(), an_observed(an_instance(), ready_generation=3))
    assert (await stage.ended(await stage.submit("a", a_plan(undoable(), awaits=AWAITS)))).state == "succeeded"


@in_virtual_time
async def test_a_wait_that_runs_out_fails_with_the_end_of_the_console_and_takes_nothing_back() -> None:
    stage = await Stage().raise_curtain(an_instance())
    stage.nodes.tail = "Kernel panic\n"
    began = stage.clock.monotonic()
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), awaits=AWAITS)))
    assert job.state == "failed"
    assert job.log.endswith("Kernel panic\n")
    assert stage.nodes.orders == ["1.0"]
    assert stage.clock.monotonic() - began == pytest.approx(60, abs=1)


@in_virtual_time
async def test_a_waiting_job_holds_nothing_and_is_superseded_by_who_takes_the_object() -> None:
    stage = await Stage().raise_curtain(an_instance())
    first = await stage.submit("a", a_plan(undoable(), on=f"instance/{WEB}", awaits=AWAITS))
    await stage.reached(first, "waiting")
    second = await stage.submit("b", a_plan(forward(), on=f"instance/{WEB}"))
    assert (await stage.ended(second)).state == "succeeded"
    job = await stage.ended(first)
    assert job.state == "superseded"
    assert job.error
    assert "job 2" in job.error["what"]


@in_virtual_time
async def test_a_wait_ends_when_the_instance_is_stopped() -> None:
    stage = await Stage().raise_curtain(an_instance())
    id = await stage.submit("a", a_plan(undoable(), awaits=AWAITS))
    await stage.reached(id, "waiting")
    stopped = an_instance(desired="stopped")
    await stage.ledger.write([Put(KEY, _bytes(stopped))])
    job = await stage.ended(id)
    assert job.state == "failed"
    assert job.error
    assert "stopped before" in job.error["what"]


@in_virtual_time
async def test_a_waiting_job_can_be_cancelled_and_what_was_done_stays() -> None:
    stage = await Stage().raise_curtain(an_instance())
    id = await stage.submit("a", a_plan(forward(), awaits=AWAITS))
    await stage.reached(id, "waiting")
    await stage.engine.cancel(id, "bert")
    assert (await stage.ended(id)).state == "cancelled"
    assert stage.nodes.orders == ["1.0"]


def _observed(generation: int) -> Put:
    seen = an_observed(an_instance(), ready_generation=generation)
    return Put(f"state/observed/{seen.id}", _bytes(seen))


def _bytes(record: object) -> bytes:
    from covey.model.record import to_bytes

    return to_bytes(record)


@in_virtual_time
async def test_a_step_whose_secret_is_gone_fails_instead_of_going_without_it() -> None:
    stage = await Stage().raise_curtain()
    seed = EnsureSeed(node="n", seed=Seed(WEB, "w", (), ()), secret="gone")  # noqa: S106
    job = await stage.ended(await stage.submit("a", a_plan(undoable(), seed)))
    assert job.state == "failed"
    assert job.error is not None
    assert "user-data" in job.error["what"]
    assert "1.1" not in stage.nodes.orders
