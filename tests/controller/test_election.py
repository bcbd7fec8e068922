"""Who leads: at most one at a time, never two in one epoch, and soon another one (S1, P10). In virtual time, with what may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from covey.base.errors import BadInput, Unavailable
from covey.controller.lead import KEY, Election, Right, take_leadership
from covey.engine.ledger import Deposed, Ledger
from covey.model import record as records
from covey.model.job import Leadership
from covey.model.timings import USUAL, Timings
from covey.store.memory import Faults, MemoryData, MemoryStore
from covey.store.protocol import Op, Put, Unchanged
from tests.kit.virtual import VirtualClock, eventually, in_virtual_time, run_virtual, virtual_clock

WITHIN_S = USUAL.lease_s + 3 * USUAL.pause_s  # from the loss of a leader to the next one


class Weather(Faults):
    """What one candidate suffers: cut off, its calls wait; the store may be slow, and fail before and after it wrote."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.slow_s = 0.0
        self.errors = 0.0
        self._joined = asyncio.Event()
        self._joined.set()

    def cut(self) -> None:
        self._joined.clear()

    def mend(self) -> None:
        self._joined.set()

    async def before_read(self, key: str) -> None:
        await self._pass()

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        await self._pass()

    async def after_txn(self, revision: int) -> None:
        await self._pass()

    async def _pass(self) -> None:
        await self._joined.wait()
        await asyncio.sleep(self.random.random() * self.slow_s)
        if self.errors and self.random.random() < self.errors:
            raise Unavailable("the store is out of order", "store")


class Candidate:
    """Campaigns, leads, writes as often as it can, and campaigns again."""

    def __init__(self, club: Club, name: str) -> None:
        self.club = club
        self.name = name
        self.weather = Weather(club.random)
        self.store = MemoryStore(club.data, club.clock, self.weather)
        self.right: Right | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        election = Election(self.store, self.club.clock, self.name)
        while True:
            self.right = await election.won()
            writing = asyncio.ensure_future(self._write(self.right))
            holding = asyncio.ensure_future(self.right.held())
            try:
                await asyncio.wait([writing, holding], return_when=asyncio.FIRST_COMPLETED)
            finally:
                right, self.right = self.right, None
                for task in (writing, holding):
                    task.cancel()
                await asyncio.gather(writing, holding, return_exceptions=True)
            await right.resign()

    async def _write(self, right: Right) -> None:
        ledger = Ledger(self.store, self.club.clock, right.leadership, right.revision)
        try:
            while True:
                await ledger.write([Put("work", self.name.encode())])
                self.club.wrote(self.name, right.leadership.epoch)
                await asyncio.sleep(0.1)
        except Deposed:
            return

    async def end(self) -> None:
        """At once, as a kill does: it resigns nothing."""
        self.weather.cut()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Club:
    """Candidates on one store, and what they wrote."""

    def __init__(self, size: int, seed: int = 1) -> None:
        self.random = Random(seed)
        self.clock: VirtualClock = virtual_clock()
        self.data = MemoryData()
        self.writers: dict[int, set[str]] = {}  # by epoch
        self.last_write = -1.0
        self.longest_gap_s = 0.0
        self.members = [Candidate(self, f"c{number + 1}") for number in range(size)]

    def wrote(self, name: str, epoch: int) -> None:
        self.writers.setdefault(epoch, set()).add(name)
        now = self.clock.monotonic()
        if self.last_write >= 0:
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_write)
        self.last_write = now

    @property
    def leaders(self) -> list[Candidate]:
        return [member for member in self.members if member.right]

    async def one_leads(self) -> Candidate:
        await eventually(lambda: self.leaders, within=WITHIN_S)
        (leader,) = self.leaders
        return leader

    async def next_leads(self, former: Candidate) -> Candidate:
        await eventually(lambda: any(leader is not former for leader in self.leaders), within=WITHIN_S)
        return next(leader for leader in self.leaders if leader is not former)

    async def close(self) -> None:
        for member in self.members:
            await member.end()


@in_virtual_time
async def test_of_two_at_once_one_leads() -> None:
    club = Club(2)
    leader = await club.one_leads()
    await asyncio.sleep(60)
    assert club.leaders == [leader]
    assert club.writers == {1: {leader.name}}
    await club.close()


@in_virtual_time
async def test_a_leader_that_resigns_is_followed_at_once() -> None:
    club = Club(3)
    leader = await club.one_leads()
    assert leader.right
    began = club.clock.monotonic()
    await leader.right.resign()
    await club.next_leads(leader)
    assert club.clock.monotonic() - began < 0.2
    await club.close()


@in_virtual_time
async def test_a_leader_that_is_killed_is_followed_when_its_right_has_run_out() -> None:
    club = Club(3)
    leader = await club.one_leads()
    await asyncio.sleep(7.3)
    await leader.end()
    await club.next_leads(leader)
    await asyncio.sleep(1)
    assert 3 < club.longest_gap_s < WITHIN_S
    await club.close()


@in_virtual_time
async def test_a_leader_that_is_cut_off_stops_before_the_next_one_begins() -> None:
    club = Club(3)
    leader = await club.one_leads()
    await asyncio.sleep(3)
    leader.weather.cut()
    await eventually(lambda: not leader.right, within=WITHIN_S)
    assert club.leaders == [], "by its own clock it has stopped, and nobody else has begun"
    following = await club.next_leads(leader)
    leader.weather.mend()
    await asyncio.sleep(30)
    assert club.leaders == [following], "who comes back follows"
    await club.close()


@in_virtual_time
async def test_a_leader_that_stood_still_finds_its_writes_refused() -> None:
    """Its clock stood still with it: it does not know that its right has ended."""
    club = Club(2)
    leader = await club.one_leads()
    assert leader.right
    ledger = Ledger(MemoryStore(club.data, club.clock), club.clock, leader.right.leadership, leader.right.revision)
    leader.weather.cut()
    await club.next_leads(leader)
    with pytest.raises(Deposed):
        await ledger.write([Put("work", b"late")])
    await club.close()


@in_virtual_time
async def test_a_store_that_does_not_answer_for_a_while_costs_nobody_the_lead() -> None:
    club = Club(3)
    leader = await club.one_leads()
    await asyncio.sleep(5)
    for member in club.members:
        member.weather.cut()
    await asyncio.sleep(USUAL.renew_every_s * 2)
    for member in club.members:
        member.weather.mend()
    await asyncio.sleep(20)
    assert club.leaders == [leader]
    assert set(club.writers) == {1}
    await club.close()


@pytest.mark.parametrize("seed", range(20))
def test_never_two_write_in_one_epoch_whatever_the_store_does(seed: int) -> None:
    async def run() -> None:
        club = Club(3, seed)
        random = club.random
        for _ in range(12):
            member = random.choice(club.members)
            match random.randrange(4):
                case 0:
                    member.weather.cut()
                case 1:
                    member.weather.slow_s = random.choice((0.2, 2.0))
                case 2:
                    member.weather.errors = random.choice((0.1, 0.5))
                case 3 if member.right:
                    await member.right.resign()
            await asyncio.sleep(random.random() * 12)
            member.weather.slow_s = member.weather.errors = 0.0
            member.weather.mend()
        await asyncio.sleep(1)
        await eventually(lambda: club.clock.monotonic() - club.last_write < 0.5, within=3 * WITHIN_S)
        assert all(len(writers) == 1 for writers in club.writers.values()), club.writers
        await club.close()

    run_virtual(run())


@in_virtual_time
async def test_a_claim_whose_answer_was_lost_is_found_again() -> None:
    clock, data = virtual_clock(), MemoryData()

    class Lost(Faults):
        async def after_txn(self, revision: int) -> None:
            raise Unavailable("the answer is lost", "store")

    right = await Election(MemoryStore(data, clock, Lost()), clock, "c1").won()
    entry = data.get(KEY)
    assert entry
    assert (right.leadership, right.revision) == (records.from_bytes(KEY, entry.value), entry.revision)
    assert right.leadership.epoch == 1


@in_virtual_time
async def test_a_record_of_one_machine_is_nobodys_right() -> None:
    """What led alone had no lease: whoever elects first on the same records leads at once, under a higher epoch."""
    clock, data = virtual_clock(), MemoryData()
    store = MemoryStore(data, clock)
    alone, _ = await take_leadership(store, clock, "n1")
    right = await Election(store, clock, "n1").won()
    assert (right.leadership.incarnation, right.leadership.epoch) == (alone.incarnation, alone.epoch + 1)
    assert clock.monotonic() == 0


def test_a_leadership_record_without_a_right_is_read() -> None:
    leadership = Leadership(1, 3, "n1", 1.0)
    assert records.from_bytes(KEY, records.to_bytes(leadership)) == leadership


@pytest.mark.parametrize("wrong", [{"lease_s": 3.0}, {"let_go_s": 0.0}, {"stale_after_s": 2.0}])
def test_timings_that_do_not_hold_together_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        replace(Timings(), **wrong)
