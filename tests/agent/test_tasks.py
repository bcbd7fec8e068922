"""What an agent makes of orders (P9): joined, one at a time per object, taken back, refused when late."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from covey.agent.tasks import EpochFile, Tasks
from covey.agent.work import doers, undoers
from covey.base.errors import CoveyError, Refused, Unavailable
from covey.host.host import Host
from covey.model.domain import Domain
from covey.model.order import Epoch, Message, Order, Outcome
from covey.model.seed import Seed
from covey.model.step import FORWARD, Step, step_kinds
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.instance import EnsureDefined, EnsureSeed, EnsureStopped
from covey.model.steps.node import EnsureAnswer
from tests.kit.builders import a_pool, a_volume, an_id
from tests.kit.virtual import eventually, in_virtual_time
from tests.simulation.machines import CAPACITY, Machine

N1 = an_id("node/n1")
INSTANCE = an_id("instance/web1")
VOLUME = a_volume("v")
KEY = f"volume:{VOLUME.place.path}:{VOLUME.id}.qcow2"


class Bench:
    """An agent's tasks on a pretended machine, whose calls can be held up before and after their effect."""

    def __init__(self, machine: Machine | None = None, epochs: EpochFile | None = None, session: str = "s1") -> None:
        self.machine = machine or Machine(N1, "n1", lambda node, key, thing: None)
        self.machine.capacity[a_pool().place.path] = CAPACITY
        self.emitted: list[Message] = []
        self.held: dict[str, asyncio.Event] = {}
        self.turns: list[str] = []
        self.host: Host = self.machine.host(self._turn)
        self.epochs = epochs or EpochFile(None)
        self.tasks = Tasks(self.host, session, self.epochs, self.emitted.append)

    async def prepare(self) -> Bench:
        await self.machine.host().storage(a_pool().place).ensure_pool(a_pool().place, "0")
        return self

    def hold(self, turn: str) -> asyncio.Event:
        """Hold up calls at a turn such as "before ensure_volume"."""
        return self.held.setdefault(turn, asyncio.Event())

    async def _turn(self, what: str) -> None:
        self.turns.append(what)
        if what in self.held:
            await self.held[what].wait()

    def order(self, step: Step, id: str = "1.0", undo: bool = False, epoch: Epoch = (1, 1), session: str = "s1") -> None:
        self.tasks.accept(Order(id, epoch, session, step, undo))

    def outcomes(self, task: str) -> list[Outcome]:
        return [message for message in self.emitted if isinstance(message, Outcome) and message.task == task]

    async def outcome(self, task: str, number: int = 1) -> Outcome:
        await eventually(lambda: len(self.outcomes(task)) >= number, 100.0)
        return self.outcomes(task)[number - 1]

    @property
    def has_volume(self) -> bool:
        return self.machine.shelf.get(KEY) is not None


def volume_step(volume: Any = VOLUME) -> Step:
    return EnsureVolume(node=N1, volume=volume, image="")


def test_every_kind_of_step_has_a_handler_and_every_undoable_one_an_undo() -> None:
    import covey.agent.steps  # noqa: F401

    kinds = step_kinds()
    assert sorted(doers) == sorted(kinds)
    assert sorted(undoers) == sorted(kind for kind, step in kinds.items() if step.role != FORWARD)


@in_virtual_time
async def test_an_order_is_carried_out_and_its_outcome_told() -> None:
    bench = await Bench().prepare()
    bench.order(volume_step())
    outcome = await bench.outcome("1.0")
    assert outcome.error is None
    assert outcome.result == {"size": VOLUME.size}
    assert bench.has_volume


@in_virtual_time
async def test_a_second_copy_of_an_order_joins_the_first() -> None:
    bench = await Bench().prepare()
    going_on = bench.hold("before ensure_volume")
    for _ in range(3):
        bench.order(volume_step())
    going_on.set()
    await bench.outcome("1.0")
    assert bench.turns == ["before ensure_volume", "after ensure_volume"]
    assert len(bench.outcomes("1.0")) == 1


@in_virtual_time
async def test_an_outcome_is_told_again_until_it_is_acknowledged_and_then_its_order_is_refused() -> None:
    bench = await Bench().prepare()
    bench.order(volume_step())
    await bench.outcome("1.0")
    bench.order(volume_step())
    assert len(bench.outcomes("1.0")) == 2
    assert [outcome.task for outcome in bench.tasks.outcomes()] == ["1.0"]
    bench.tasks.acknowledge(["1.0"])
    assert bench.tasks.outcomes() == []
    with pytest.raises(Refused, match="over"):
        bench.order(volume_step())
    assert bench.turns.count("before ensure_volume") == 1


@in_virtual_time
async def test_a_failure_is_told_as_it_is_and_a_mistake_of_ours_as_a_bug() -> None:
    bench = await Bench().prepare()
    bench.order(EnsureVolume(node=N1, volume=VOLUME, image=an_id("image/none")))
    outcome = await bench.outcome("1.0")
    assert outcome.error
    assert outcome.error["kind"] == "NotFound"
    broken: Any = EnsureVolume(node=N1, volume=None, image="")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        _ = broken.object
    bench.order(broken, "2.0")
    outcome = await bench.outcome("2.0")
    assert outcome.error
    assert outcome.error["kind"] == "StepFailed"
    assert "bug" in outcome.error["hint"]


@in_virtual_time
async def test_one_call_at_a_time_per_object_and_different_objects_side_by_side() -> None:
    bench = await Bench().prepare()
    going_on = bench.hold("before ensure_volume")
    bench.order(volume_step(), "1.0")
    bench.order(volume_step(), "2.0")
    bench.order(volume_step(a_volume("other")), "3.0")
    await asyncio.sleep(1)
    assert bench.turns.count("before ensure_volume") == 2
    going_on.set()
    await bench.outcome("2.0")
    assert bench.turns.count("before ensure_volume") == 3


@in_virtual_time
async def test_a_step_without_an_object_needs_no_turn() -> None:
    bench = Bench()
    bench.order(EnsureAnswer(node=N1))
    assert (await bench.outcome("1.0")).error is None


@in_virtual_time
async def test_an_undo_ends_the_step_under_way_first() -> None:
    bench = await Bench().prepare()
    bench.hold("after ensure_volume")
    bench.order(volume_step())
    await eventually(lambda: bench.has_volume)
    bench.order(volume_step(), undo=True)
    assert (await bench.outcome("1.0.undo")).error is None
    assert not bench.has_volume
    assert bench.outcomes("1.0") == []
    assert [outcome.task for outcome in bench.tasks.outcomes()] == ["1.0.undo"]


@in_virtual_time
async def test_an_undo_takes_back_a_step_that_waits_for_its_turn() -> None:
    bench = await Bench().prepare()
    going_on = bench.hold("before ensure_volume")
    bench.order(volume_step(), "1.0")
    bench.order(volume_step(), "2.0")
    await asyncio.sleep(1)
    bench.order(volume_step(), "2.0", undo=True)
    going_on.set()
    await bench.outcome("2.0.undo")
    assert bench.has_volume, "what job 1 made was taken back for job 2"
    assert bench.turns.count("before ensure_volume") == 1


@pytest.mark.parametrize("undo", ["1.0", "1.0.5eed"])
def test_an_order_that_comes_after_its_undo_has_no_effect(undo: str) -> None:
    """Whether that was the first undo, or a later try at what the first had to leave behind."""

    @in_virtual_time
    async def test() -> None:
        bench = await Bench().prepare()
        bench.order(volume_step(), undo, undo=True)
        await bench.outcome(f"{undo}.undo")
        with pytest.raises(Refused):
            bench.order(volume_step())
        bench.tasks.acknowledge([f"{undo}.undo"])
        with pytest.raises(Refused):
            bench.order(volume_step())
        assert not bench.has_volume

    test()


@in_virtual_time
async def test_debris_can_be_tried_again_under_another_number_of_the_same_step() -> None:
    bench = await Bench().prepare()
    bench.order(volume_step())
    await bench.outcome("1.0")
    bench.order(volume_step(), "1.0.5eed", undo=True)
    await bench.outcome("1.0.5eed.undo")
    assert not bench.has_volume
    assert [outcome.task for outcome in bench.tasks.outcomes()] == ["1.0.5eed.undo"]


@in_virtual_time
async def test_an_order_for_an_earlier_process_is_not_for_this_one() -> None:
    bench = await Bench(session="s2").prepare()
    with pytest.raises(Unavailable):
        bench.order(volume_step(), session="s1")
    assert bench.tasks.in_flight == []


@in_virtual_time
async def test_an_order_of_a_deposed_leader_is_refused() -> None:
    bench = await Bench().prepare()
    bench.order(EnsureAnswer(node=N1), "1.0", epoch=(1, 2))
    with pytest.raises(Refused, match="deposed"):
        bench.order(volume_step(), "2.0", epoch=(1, 1))
    with pytest.raises(Refused, match="deposed"):
        bench.order(volume_step(), "2.0", epoch=(0, 9))
    bench.order(volume_step(), "2.0", epoch=(2, 0))


@in_virtual_time
async def test_a_step_that_waited_while_its_leader_was_deposed_has_no_effect_and_no_outcome() -> None:
    bench = await Bench().prepare()
    going_on = bench.hold("before ensure_volume")
    bench.order(volume_step(), "1.0")
    other = EnsureVolume(node=N1, volume=a_volume("v", size=VOLUME.size * 2), image="")
    bench.order(other, "2.0")  # waits for the same object
    await asyncio.sleep(1)
    bench.order(EnsureAnswer(node=N1), "3.0", epoch=(1, 2))
    going_on.set()
    await eventually(lambda: bench.tasks.in_flight == [])
    assert bench.turns.count("before ensure_volume") == 1
    assert bench.outcomes("2.0") == [], "the new leader would take that for an answer to its own order"
    bench.order(other, "2.0", epoch=(1, 2))
    assert (await bench.outcome("2.0")).error is None


@in_virtual_time
async def test_a_waiting_step_that_the_new_leader_joined_is_carried_out() -> None:
    bench = await Bench().prepare()
    going_on = bench.hold("before ensure_volume")
    bench.order(volume_step(), "1.0")
    bench.order(volume_step(), "2.0")
    await asyncio.sleep(1)
    bench.order(volume_step(), "2.0", epoch=(1, 2))
    going_on.set()
    assert (await bench.outcome("2.0")).error is None


def test_the_epoch_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "epoch"
    EpochFile(path).obey((3, 7))
    again = EpochFile(path)
    assert again.epoch == (3, 7)
    with pytest.raises(CoveyError):
        again.obey((3, 6))
    with pytest.raises(CoveyError):
        again.obey((2, 99))
    again.obey((4, 0))
    assert EpochFile(path).epoch == (4, 0)


@in_virtual_time
async def test_a_killed_agent_has_no_further_effect() -> None:
    bench = await Bench().prepare()
    bench.order(volume_step())
    await bench.outcome("1.0")
    bench.hold("before ensure_volume")
    bench.order(EnsureVolume(node=N1, volume=a_volume("other"), image=""), "2.0")
    await asyncio.sleep(1)
    bench.order(EnsureVolume(node=N1, volume=a_volume("other"), image=""), "2.0", undo=True)
    await asyncio.sleep(0)  # the undo has begun to end the step
    turns = list(bench.turns)
    await bench.tasks.close()
    assert bench.turns == turns, "an undo went on after the end"
    assert bench.tasks.in_flight == []


@in_virtual_time
async def test_the_successor_of_a_killed_agent_repeats_the_step() -> None:
    first = await Bench().prepare()
    first.hold("after ensure_volume")
    first.order(volume_step())
    await eventually(lambda: first.has_volume)
    await first.tasks.close()
    second = Bench(first.machine, first.epochs, "s2")
    second.order(volume_step(), session="s2")
    assert (await second.outcome("1.0")).result == {"size": VOLUME.size}


@in_virtual_time
async def test_progress_is_told_while_a_step_runs() -> None:
    from covey.model.order import Progress
    from covey.model.steps.image import EnsureImageFetched

    bench = await Bench().prepare()
    bench.order(EnsureImageFetched(node=N1, image=an_id("image/x"), source="/images/x.qcow2", sha256=""))
    await bench.outcome("1.0")
    assert any(isinstance(message, Progress) and message.task == "1.0" for message in bench.emitted)


@in_virtual_time
async def test_stopping_what_is_not_there_succeeds() -> None:
    bench = await Bench().prepare()
    bench.order(EnsureStopped(node=N1, instance=an_id("instance/gone")))
    assert (await bench.outcome("1.0")).result == {"cut": False}


@pytest.mark.parametrize(("job", "stays"), [("1", False), ("2", True)])
def test_the_undo_of_a_seed_spares_what_another_job_made_and_nothing_else(job: str, stays: bool) -> None:
    """The domain that stands on the seed may be the same job's own, which could not yet be taken back."""

    @in_virtual_time
    async def test() -> None:
        bench = await Bench().prepare()
        seed = EnsureSeed(node=N1, seed=Seed(INSTANCE, "web1", (), ()), secret="")
        domain = Domain(INSTANCE, "web1", 1, 2**30, "tcg", "pc-q35-7.2", seed=True)
        bench.order(seed, "1.0")
        bench.order(EnsureDefined(node=N1, domain=domain), "1.1")
        await bench.outcome("1.1")
        bench.order(seed, f"{job}.0", undo=True)
        await bench.outcome(f"{job}.0.undo")
        assert (await bench.host.guests.seeds() == (INSTANCE,)) == stays

    test()
