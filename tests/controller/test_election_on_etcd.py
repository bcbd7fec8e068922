"""Election on real etcd: three members, three candidates, each of which asks the member beside it first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from covey.base.clock import SystemClock
from covey.controller.lead import Election, Right
from covey.engine.ledger import Deposed, Ledger
from covey.store.etcd import EtcdStore
from covey.store.protocol import Put
from tests.kit.etcd import WELL_WITHIN_S, EtcdCluster, Member, an_etcd
from tests.kit.eventually import eventually

pytestmark = pytest.mark.real
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "three", 3) as cluster:
        yield cluster


class Candidate:
    """Campaigns, leads and writes, and campaigns again, until it is ended."""

    def __init__(self, name: str, store: EtcdStore, wrote: dict[int, set[str]]) -> None:
        self.name = name
        self.store = store
        self.right: Right | None = None
        self._wrote = wrote
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.right = await Election(self.store, CLOCK, self.name).won()
            works = [asyncio.ensure_future(work) for work in (self._write(self.right), self.right.held())]
            try:
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.right = None
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)

    async def _write(self, right: Right) -> None:
        ledger = Ledger(self.store, CLOCK, right.leadership, right.revision)
        try:
            while True:
                await ledger.write([Put("work", self.name.encode())])
                self._wrote.setdefault(right.leadership.epoch, set()).add(self.name)
                await asyncio.sleep(0.05)
        except Deposed:
            return

    async def kill(self) -> None:
        """It resigns nothing."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Club:
    def __init__(self) -> None:
        self.wrote: dict[int, set[str]] = {}  # who wrote, by epoch
        self.members: list[Candidate] = []

    @property
    def epoch(self) -> int:
        return max(self.wrote, default=0)

    async def writes(self, beyond: int) -> Candidate:
        """The candidate that writes in an epoch after this one."""
        await eventually(lambda: self.epoch > beyond, within=WELL_WITHIN_S)
        (name,) = self.wrote[self.epoch]
        return next(member for member in self.members if member.name == name)


@asynccontextmanager
async def a_club(cluster: EtcdCluster) -> AsyncIterator[Club]:
    club = Club()
    for member in cluster.members:
        store = await cluster.open(member, *(other for other in cluster.members if other is not member))
        club.members.append(Candidate(member.name, store, club.wrote))
    try:
        yield club
        assert all(len(names) == 1 for names in club.wrote.values()), club.wrote
    finally:
        for candidate in club.members:
            await candidate.kill()
            await candidate.store.close()


async def test_a_leader_that_is_killed_is_followed(three: EtcdCluster, capsys: pytest.CaptureFixture[str]) -> None:
    async with a_club(three) as club:
        leader = await club.writes(0)
        epoch, began = club.epoch, CLOCK.monotonic()
        await leader.kill()
        following = await club.writes(epoch)
        took_s = CLOCK.monotonic() - began
        assert following is not leader
    with capsys.disabled():
        print(f"\nleader killed -> the next one has written: {took_s:.1f} s")


async def test_a_leader_that_resigns_is_followed_without_waiting(three: EtcdCluster, capsys: pytest.CaptureFixture[str]) -> None:
    async with a_club(three) as club:
        leader = await club.writes(0)
        epoch, began = club.epoch, CLOCK.monotonic()
        assert leader.right
        right = leader.right
        await leader.kill()
        await right.resign()
        await club.writes(epoch)
        took_s = CLOCK.monotonic() - began
    with capsys.disabled():
        print(f"\nleader resigned -> the next one has written: {took_s:.2f} s")


async def test_a_leader_whose_machine_stands_still_is_followed_and_then_follows(
    three: EtcdCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its member of etcd with it, which may be the one that leads there."""
    async with a_club(three) as club:
        leader = await club.writes(0)
        member = _beside(three, leader)
        epoch, began = club.epoch, CLOCK.monotonic()
        await leader.kill()
        member.pause()
        try:
            await club.writes(epoch)
            took_s = CLOCK.monotonic() - began
        finally:
            member.resume()
        await three.until_well()
    with capsys.disabled():
        print(f"\nleader and its etcd member gone -> the next one has written: {took_s:.1f} s")


async def test_a_leader_that_reaches_no_majority_stops_by_itself(three: EtcdCluster) -> None:
    """It asks one member only, which is cut off from the others by their standing still."""
    alone, *others = three.members
    store = await three.open(alone)
    candidate = Candidate("alone", store, {})
    await eventually(lambda: candidate.right, within=WELL_WITHIN_S)
    for member in others:
        member.pause()
    try:
        await eventually(lambda: not candidate.right, within=WELL_WITHIN_S)
    finally:
        for member in others:
            member.resume()
    await three.until_well()
    await eventually(lambda: candidate.right, within=WELL_WITHIN_S)
    await candidate.kill()
    await store.close()


def _beside(cluster: EtcdCluster, candidate: Candidate) -> Member:
    return next(member for member in cluster.members if member.name == candidate.name)
