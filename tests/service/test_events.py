"""Events: a sentence for each thing that happened, once, also after a restart."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import Unavailable
from covey.controller.events import KEPT, EventLog
from covey.model import record as records
from covey.model.event import events_of, parse_cursor, render_cursor
from covey.model.job import EndedJob
from covey.model.record import key_of
from covey.model.view import ClusterView
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.memory import Faults, MemoryData, MemoryStore
from covey.store.protocol import Batch, Delete, Put
from tests.kit.builders import a_cluster, a_job, a_network, an_image, an_instance, an_observed

WEB = an_instance("web1")
NOW = 1_800_000_000.0


def told(before: ClusterView, *changed: Any, extra: tuple[Any, ...] = ()) -> list[str]:
    """The sentences of a change."""
    changes = [(key_of(record), record) for record in changed]
    after = before.apply(changes, before.revision + 1)
    return [event.text for event in events_of(before, after, [*changes, *extra], NOW)]


def gone(before: ClusterView, record: Any) -> list[str]:
    changes = [(key_of(record), None)]
    return [event.text for event in events_of(before, before.apply(changes, before.revision + 1), changes, NOW)]


RUNNING = a_cluster(instances=(WEB,), extra=(an_observed(WEB),))


@pytest.mark.parametrize(
    ("observed", "sentence"),
    [
        (an_observed(WEB, "stopped", reason="guest"), "instance web1 was shut down from within"),
        (an_observed(WEB, "stopped", reason="covey"), "instance web1 stopped"),
        (an_observed(WEB, "crashed"), "instance web1 crashed"),
        (an_observed(WEB, "crashed", restart_at=NOW + 10), "instance web1 crashed; restart in 10 s"),
        (an_observed(WEB, "crashed", gave_up=True, crashes=(1.0, 2.0)), "instance web1 crashed; given up after 2 crashes"),
        (an_observed(WEB, "paused"), "instance web1 is paused on n1"),
        (an_observed(WEB, "missing"), "instance web1 is missing: n1 has no such domain"),
        (an_observed(WEB, generation=2), "instance web1 runs on n1"),
        (
            an_observed(WEB, ready_generation=1, ready_at=NOW, ready_s=12.3, addresses=("10.7.0.2",)),
            "instance web1 reports that it is ready after 12.3 s (10.7.0.2)",
        ),
    ],
)
def test_what_happens_to_an_instance_is_told(observed: Any, sentence: str) -> None:
    assert told(RUNNING, observed) == [sentence]


def test_nothing_is_told_of_what_did_not_change() -> None:
    assert told(RUNNING, an_observed(WEB), WEB) == []
    assert told(RUNNING, an_observed(WEB, pid=4712)) == []


def test_making_and_removing_are_told() -> None:
    empty = a_cluster()
    adding = replace(WEB, state="adding")
    assert told(empty, adding) == []
    assert told(a_cluster(instances=(adding,)), WEB) == ["instance web1 was made on n1"]
    assert gone(RUNNING, WEB) == ["instance web1 was removed"]
    assert gone(a_cluster(instances=(adding,)), adding) == []
    assert told(empty, a_network("dmz", "10.78.0")) == ["network dmz was made"]
    assert told(a_cluster(images=(an_image(state="adding"),)), an_image()) == ["image debian-12 is ready"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": "succeeded", "ended_at": NOW + 3.2}, "job 12 node ping n1 by anna succeeded in 3.2 s"),
        (
            {"state": "failed", "error": {"kind": "StepFailed", "what": "no answer", "object": "", "hint": ""}},
            "job 12 node ping n1 by anna failed: no answer",
        ),
        (
            {"state": "cancelled", "error": {"kind": "Refused", "what": "cancelled by bob", "object": "", "hint": ""}},
            "job 12 node ping n1 by anna was cancelled: cancelled by bob",
        ),
    ],
)
def test_the_end_of_a_job_is_told_with_its_outcome(changes: dict[str, Any], sentence: str) -> None:
    ended = EndedJob(a_job(12, **changes), None)
    assert told(a_cluster(), extra=(("history/job/0000000012", ended),)) == [sentence]


def test_agents_that_come_and_go_are_told_of() -> None:
    answering, silent = a_cluster(), a_cluster(answering=False)
    assert [event.text for event in events_of(answering, silent, [], NOW)] == ["the agent of node n1 does not answer"]
    assert [event.text for event in events_of(silent, answering, [], NOW)] == ["the agent of node n1 answers"]


@pytest.mark.parametrize("text", ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.-2.3", "1.2.³", "9" * 30 + ".1.1"])
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert parse_cursor(text) is None


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert parse_cursor(render_cursor((3, 412, 0))) == (3, 412, 0)


# --- the log -------------------------------------------------------------------------------------------------------------------------
class Running:
    """A feed with an event log, as one process has them."""

    def __init__(self, data: MemoryData, directory: Path) -> None:
        self.clock = SystemClock()
        self.store = MemoryStore(data, self.clock)
        self.feed = Feed(self.store)
        self.history = History(self.store)
        self.log = EventLog(directory, self.feed, self.history, self.clock)

    async def __aenter__(self) -> Running:
        await self.feed.start()
        await self.history.start()
        await self.log.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()
        await self.history.close()
        await self.feed.close()
        await self.store.close()

    async def put(self, *written: Any) -> None:
        await self.feed.reached(await self.store.txn([], [Put(key_of(one), records.to_bytes(one)) for one in written]))

    async def texts(self, count: int) -> list[str]:
        """All sentences, once there are so many."""
        news = asyncio.Event()
        self.log.listen(news.set)
        async with asyncio.timeout(10):
            while len(found := self.log.since(0.0, KEPT)) < count:
                await news.wait()
                news.clear()
        self.log.ignore(news.set)
        return [event.text for event in found]


async def test_a_restart_forgets_no_event_and_tells_none_twice(tmp_path: Path) -> None:
    data = MemoryData()
    async with Running(data, tmp_path) as first:
        await first.put(a_network("lan"))
        await first.put(a_network("dmz", "10.78.0"))
        before = await first.texts(2)
        cursor = first.log.last
    async with Running(data, tmp_path) as second:
        assert await second.texts(2) == before == ["network lan was made", "network dmz was made"]
        assert second.log.last == cursor
        await second.put(a_network("wan", "10.79.0"))
        assert (await second.texts(3))[2] == "network wan was made"
        later = second.log.after(cursor)
        assert later is not None and [event.text for event in later] == ["network wan was made"]


async def test_the_outcome_of_a_job_is_told_when_its_record_goes(tmp_path: Path) -> None:
    async with Running(MemoryData(), tmp_path) as here:
        job = a_job(12)
        await here.put(job)
        ended = EndedJob(replace(job, state="succeeded", ended_at=job.created_at + 1.5), None)
        await here.store.txn([], [Delete(key_of(job)), Put("history/job/0000000012", records.to_bytes(ended))])
        assert await here.texts(1) == ["job 12 node ping n1 by anna succeeded in 1.5 s"]


async def test_a_line_that_a_crash_cut_short_does_no_harm(tmp_path: Path) -> None:
    data = MemoryData()
    async with Running(data, tmp_path) as first:
        await first.put(a_network("lan"))
        await first.texts(1)
    (file,) = tmp_path.iterdir()
    with file.open("a") as damaged:
        damaged.write('{"rubbish\n[[1, 2')
    async with Running(data, tmp_path) as second:
        await second.put(a_network("dmz", "10.78.0"))
        assert await second.texts(2) == ["network lan was made", "network dmz was made"]
    async with Running(data, tmp_path) as third:
        assert await third.texts(2) == ["network lan was made", "network dmz was made"]


async def test_an_older_copy_of_the_store_takes_back_what_was_told_and_is_told_of_itself(tmp_path: Path) -> None:
    data = MemoryData()
    async with Running(data, tmp_path) as first:
        await first.put(a_network("lan"))
        await first.texts(1)
        copy = deepcopy(data)
        for number in range(5):
            await first.put(replace(a_network("dmz", "10.78.0"), name=f"dmz{number}"))
        await first.texts(2)
        lost = first.log.last
    async with Running(copy, tmp_path) as second:
        assert await second.texts(1) == ["network lan was made"]
        assert second.log.after(lost) is None, "who knows more than happened begins anew"
        await second.put(a_network("wan", "10.79.0"))
        assert await second.texts(2) == ["network lan was made", "network wan was made"]
    async with Running(copy, tmp_path) as third:
        assert await third.texts(2) == ["network lan was made", "network wan was made"]


async def test_the_log_keeps_within_its_bound(tmp_path: Path) -> None:
    async with Running(MemoryData(), tmp_path) as here:
        here_is, gone_again = a_network("lan"), Delete(key_of(a_network("lan")))
        for _ in range(KEPT // 2 + 3_000):
            await here.store.txn([], [Put(key_of(here_is), records.to_bytes(here_is))])
            await here.store.txn([], [gone_again])
        await here.texts(KEPT)
    sizes = [len(file.read_text().splitlines()) for file in tmp_path.iterdir()]
    assert sum(sizes) <= KEPT and len(sizes) <= 5
    async with Running(MemoryData(), tmp_path) as again:
        assert again.log.after((0, 1, 0)) is None


async def test_a_change_that_cannot_be_told_does_not_silence_the_log(tmp_path: Path) -> None:
    async with Running(MemoryData(), tmp_path) as running:
        broken = replace(running.feed.view, collections={})
        running.log._hear(broken, running.feed.view, [(key_of(WEB), WEB)])
        await running.put(a_network("lan"))
        assert await running.texts(1) == ["network lan was made"]


async def test_ended_jobs_are_followed_again_after_a_store_that_did_not_answer() -> None:
    data = MemoryData()
    store = MemoryStore(data, SystemClock(), OneBreak())
    history = History(store)
    await history.start()
    for id in (1, 2):
        ended = EndedJob(replace(a_job(id), state="succeeded"), None)
        await store.txn([], [Put(f"{records.HISTORY}{id:010d}", records.to_bytes(ended))])
        assert await history.until_ended(id, 10.0)
    await history.close()


class OneBreak(Faults):
    """The first change breaks the watch that was to bring it."""

    def __init__(self) -> None:
        self.breaks = 1

    async def before_batch(self, batch: Batch) -> None:
        if self.breaks:
            self.breaks -= 1
            raise Unavailable("the line was cut", "store")
