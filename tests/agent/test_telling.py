"""What an agent tells of its own accord, and to whom."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import httpx2

from covey.agent.agent import Agent
from covey.agent.keeping import Keeping
from covey.agent.membership import Memberships
from covey.agent.observe import Thermometer
from covey.agent.server import make_app
from covey.agent.tasks import EpochFile
from covey.agent.way import LocalWay
from covey.base.errors import Unavailable
from covey.controller.fleet import Fleet
from covey.controller.hearing import Hearing
from covey.controller.lead import take_leadership
from covey.engine.ledger import Ledger
from covey.host.host import Host
from covey.host.hypervisor.fake import FakeHypervisor
from covey.host.storage.fake import FakeStorage
from covey.model import codec
from covey.model import record as records
from covey.model.job import Job
from covey.model.node import InstanceUse, Telemetry
from covey.model.order import Charge, Message, Observed, Order, Progress, Room, Telling
from covey.model.pool import Place, Space
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.node import EnsureAnswer
from covey.model.steps.pool import EnsurePool
from covey.store.feed import Feed
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Delete, Put
from tests.kit.builders import GIB, a_job, a_pool, a_volume, an_id
from tests.kit.virtual import in_virtual_time, virtual_clock
from tests.simulation.machines import CAPACITY, Machine

N1 = an_id("node/n1")
POOL = a_pool()
ABOUT = Telemetry(0.0)


class SlowStorage(FakeStorage):
    """Its room shrinks by 1 GiB with each look, and each look takes a while; `is_there` False is a pool that is not mounted."""

    looks = 0
    is_there = True

    async def space(self, place: Place) -> Space:
        self.looks += 1
        room = Space(CAPACITY, CAPACITY - self.looks * GIB)
        await asyncio.sleep(1.0)
        if not self.is_there:
            raise Unavailable("the directory is gone", place.path)
        return room


def a_machine() -> tuple[Host, SlowStorage]:
    machine = Machine(N1, "n1", lambda node, key, thing: None)
    storage = SlowStorage(machine.shelf, {POOL.place.path: CAPACITY})
    return replace(machine.host(), storages={"file": storage}), storage


def spaces(told: list[Message]) -> list[int]:
    rooms = [
        message.telemetry.pools if isinstance(message, Telling) else message.pools
        for message in told
        if isinstance(message, Telling | Room)
    ]
    return [(CAPACITY - pools[POOL.id].free) // GIB for pools in rooms]


@in_virtual_time
async def test_readings_at_the_same_time_are_all_whole_and_told_in_the_order_in_which_they_were_made() -> None:
    told: list[Message] = []
    host, _ = a_machine()
    thermometer = Thermometer(host, told.append, virtual_clock(), ABOUT)
    thermometer.look_after(Charge({POOL.id: POOL.place}, ()))
    step = EnsureVolume(node=N1, volume=a_volume(), image="")
    await asyncio.gather(
        thermometer.tell(),
        thermometer.tell_room(step, undone=False),
        thermometer.tell(),
        thermometer.tell_room(step, undone=False),
    )
    assert spaces(told) == [1, 2, 3, 4]


@in_virtual_time
async def test_after_a_step_on_a_volume_nothing_is_told_but_room() -> None:
    told: list[Message] = []
    host, _ = a_machine()
    thermometer = Thermometer(host, told.append, virtual_clock(), ABOUT)
    thermometer.look_after(Charge({POOL.id: POOL.place}, ()))
    await thermometer.tell_room(EnsureVolume(node=N1, volume=a_volume(), image=""), undone=False)
    await thermometer.tell_room(EnsureAnswer(node=N1), undone=False)
    assert told == [Room(told[0].as_of, {POOL.id: Space(CAPACITY, CAPACITY - GIB)}, ())]  # type: ignore[attr-defined]
    known = replace(ABOUT, cpus=8, instances={"web1": InstanceUse(1.0, GIB, 2.0)})
    room = told[0]
    assert isinstance(room, Room)
    after = room.within(known)
    assert (after.cpus, after.instances, after.pools) == (8, known.instances, room.pools)


@in_virtual_time
async def test_of_a_pool_that_was_given_up_no_trouble_is_told_any_more() -> None:
    told: list[Message] = []
    host, storage = a_machine()
    thermometer = Thermometer(host, told.append, virtual_clock(), ABOUT)
    thermometer.look_after(Charge({POOL.id: POOL.place}, ()))
    storage.is_there = False
    assert (await thermometer.read()).problems
    thermometer.look_after(Charge({}, ()))
    assert (await thermometer.read()).problems == ()


@in_virtual_time
async def test_nothing_is_kept_for_a_leader_that_went_away() -> None:
    host, _ = a_machine()
    agent = Agent(N1, host, "s1", EpochFile(None), virtual_clock(), ABOUT)
    stream = agent.stream()
    await anext(stream)
    await stream.aclose()
    assert agent._stream is None
    later = agent.stream()
    await anext(later)
    await stream.aclose()
    assert agent._stream is not None, "the end of an older stream ended the newer one"
    await later.aclose()


@in_virtual_time
async def test_a_leader_that_came_while_the_hypervisor_was_silent_is_told_of_every_domain_once_it_answers() -> None:
    host, _ = a_machine()
    hypervisor = host.hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    agent = Agent(N1, host, "s1", EpochFile(None), virtual_clock(), ABOUT)
    agent.start()
    await asyncio.sleep(1.0)  # it has looked at every domain before, with nobody to tell
    hypervisor.answers = False
    told: list[Message] = []

    async def hear() -> None:
        async for message in agent.stream():
            told.append(message)

    hearing = asyncio.create_task(hear())
    await asyncio.sleep(5.0)
    assert not [message for message in told if isinstance(message, Observed)]
    hypervisor.answers = True
    await asyncio.sleep(5.0)
    assert len([message for message in told if isinstance(message, Observed)]) == 1
    await agent.close()
    await hearing


async def test_an_order_of_a_kind_that_is_not_known_does_not_keep_others_from_being_carried_out(tmp_path: Path) -> None:
    host, _ = a_machine()
    agent = Agent(N1, host, "s1", EpochFile(None), _Clock(), ABOUT)
    known = codec.encode(Order("1.0", (1, 1), "s1", EnsureAnswer(node=N1)))
    unknown = json.loads(json.dumps(known).replace("answer@1", "answer@99"))
    memberships = Memberships(tmp_path, N1, EpochFile(None))
    app = make_app(agent, memberships, Keeping(tmp_path, tmp_path, memberships, N1, _Clock()))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://agent") as client:
        answer = await client.put("/orders", content=json.dumps([unknown, known]))
    assert [error and error["kind"] for error in answer.json()] == ["BadInput", None]
    await agent.close()


@in_virtual_time
async def test_what_comes_after_the_end_of_a_job_is_not_kept() -> None:
    clock = virtual_clock()
    store = MemoryStore(MemoryData(), clock)
    leadership, revision = await take_leadership(store, clock, "test")
    feed = Feed(store)
    await feed.start()
    ledger = Ledger(store, clock, leadership, revision)
    fleet = Fleet(lambda view: (LocalWay(Path("/nowhere")),), ledger.epoch, feed, Hearing(feed, ledger, clock), clock)
    running = asyncio.create_task(fleet.run())
    job: Job = replace(a_job(7), state="running")
    await feed.reached(await store.txn((), [Put(records.key_of(job), records.to_bytes(job))]))
    fleet._hear(N1, Progress("7.0", "half", 1, 2))
    assert fleet.progress[7].text == "half"
    await feed.reached(await store.txn((), [Delete(records.key_of(job))]))
    fleet._hear(N1, Progress("7.0", "late", 2, 2))
    assert fleet.progress == {}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await feed.close()


class _Clock:
    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@in_virtual_time
async def test_a_pool_that_was_taken_back_is_told_of_no_more() -> None:
    told: list[Message] = []
    host, _ = a_machine()
    thermometer = Thermometer(host, told.append, virtual_clock(), ABOUT)
    step = EnsurePool(node=N1, pool=POOL.id, place=POOL.place)
    await thermometer.tell_room(step, undone=False)
    await thermometer.tell_room(step, undone=True)
    first, last = (message for message in told if isinstance(message, Room))
    assert POOL.id in {*first.pools, *(problem.partition(" ")[0] for problem in first.problems)} or first.problems
    assert (last.pools, last.problems) == ({}, ())


class HangingStorage(SlowStorage):
    """Pools named "hung" do not answer."""

    async def space(self, place: Place) -> Space:
        if "hung" not in place.path:
            return Space(CAPACITY, CAPACITY)
        await asyncio.sleep(5.0)
        raise Unavailable("its file system does not answer", place.path)


@in_virtual_time
async def test_pools_that_hang_are_problems_of_their_own_and_do_not_add_up() -> None:
    told: list[Message] = []
    machine = Machine(N1, "n1", lambda node, key, thing: None)
    host = replace(machine.host(), storages={"file": HangingStorage(machine.shelf, {})})
    clock = virtual_clock()
    thermometer = Thermometer(host, told.append, clock, ABOUT)
    places = {name: Place("file", f"/srv/{name}") for name in ("hung1", "hung2", "well")}
    thermometer.look_after(Charge(places, ()))
    began = clock.monotonic()
    telemetry = await thermometer.read()
    assert clock.monotonic() - began < 6.0
    assert list(telemetry.pools) == ["well"]
    assert len(telemetry.problems) == 2 and all("does not answer" in problem for problem in telemetry.problems)
