"""Ended jobs are kept for 30 days, and 10,000 of them."""

from __future__ import annotations

from dataclasses import replace

from covey.controller.janitor import AT_ONCE, Janitor, Retention
from covey.controller.lead import take_leadership
from covey.engine.ledger import Ledger, history_key
from covey.model import record as records
from covey.model.job import EndedJob
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Put
from tests.kit.builders import a_job

NOW = 1_800_000_000.0
KEPT_JOBS, KEPT_S = Retention().jobs, Retention().jobs_s


class StoppedClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody needs to wait here")


async def kept_after_sweeping(ended_at: dict[int, float], kept: Retention = Retention()) -> list[int]:
    clock = StoppedClock()
    store = MemoryStore(MemoryData(), clock)
    leadership, revision = await take_leadership(store, clock, "test")
    puts = [
        Put(history_key(id), records.to_bytes(EndedJob(replace(a_job(id), state="succeeded", ended_at=at), None)))
        for id, at in ended_at.items()
    ]
    for start in range(0, len(puts), 100):
        await store.txn((), puts[start : start + 100])
    janitor = Janitor(store, Ledger(store, clock, leadership, revision), clock, kept)
    while await janitor.sweep():
        pass
    listing = await store.list(records.HISTORY)
    return [int(entry.key.removeprefix(records.HISTORY)) for entry in listing.entries]


async def test_nothing_is_dropped_before_its_time() -> None:
    assert await kept_after_sweeping({1: NOW - KEPT_S + 1, 2: NOW}) == [1, 2]
    assert await kept_after_sweeping({}) == []


async def test_what_is_older_than_a_month_goes() -> None:
    assert await kept_after_sweeping({1: NOW - KEPT_S - 1, 2: NOW - KEPT_S - 1, 3: NOW}) == [3]


async def test_the_newest_stays_however_old_it_is() -> None:
    """The next process counts on from its number."""
    assert await kept_after_sweeping({1: NOW - KEPT_S - 1, 2: NOW - KEPT_S - 1}) == [2]


async def test_only_the_newest_ten_thousand_stay() -> None:
    surplus = 2 * AT_ONCE + 7
    kept = await kept_after_sweeping(dict.fromkeys(range(1, KEPT_JOBS + surplus + 1), NOW))
    assert kept == list(range(surplus + 1, KEPT_JOBS + surplus + 1))


async def test_how_many_and_how_long_can_be_said() -> None:
    assert await kept_after_sweeping(dict.fromkeys(range(1, 8), NOW), Retention(3)) == [5, 6, 7]
    assert await kept_after_sweeping({1: NOW - 61, 2: NOW - 59, 3: NOW}, Retention(jobs_s=60)) == [2, 3]
