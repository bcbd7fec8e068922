"""Idempotency keys over time: for 24 hours, then forgotten and removed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import BadInput, Refused
from covey.model.record import IDEMPOTENCY
from covey.model.requests.instance import AddInstance
from covey.model.requests.node import PingNode
from covey.service.idempotency import LIFE_S, PRUNED_AT_ONCE, Keys, check_key, digest_of, key_of
from covey.store.memory import MemoryData, MemoryStore


class HandClock:
    """A clock that goes when it is pushed."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> MemoryStore:
    return MemoryStore(MemoryData(), clock)


PLACE = key_of("anna", "one")


async def test_a_key_is_known_for_a_day_and_then_free_again(store: MemoryStore, clock: HandClock) -> None:
    keys = Keys(store, clock)
    use, unused = await keys.find(PLACE, "digest")
    assert use is None and unused.revision == 0
    await store.txn([unused], [keys.put(PLACE, "digest", 7)])
    clock.at += LIFE_S - 1
    use, _ = await keys.find(PLACE, "digest")
    assert use is not None and use.job == 7
    with pytest.raises(Refused, match="job 7"):
        await keys.find(PLACE, "other")
    clock.at += 1
    use, expired = await keys.find(PLACE, "other")
    assert use is None
    await store.txn([expired], [keys.put(PLACE, "other", 8)])


async def test_keys_that_are_over_are_removed_little_by_little(store: MemoryStore, clock: HandClock) -> None:
    keys = Keys(store, clock)
    for number in range(PRUNED_AT_ONCE + 20):
        await store.txn([], [keys.put(key_of("anna", str(number)), "digest", number)])
    clock.at += LIFE_S
    await store.txn([], [keys.put(PLACE, "digest", 999)])
    await keys.prune()
    assert len((await store.list(IDEMPOTENCY)).entries) <= 22
    clock.at += 61
    await keys.prune()
    assert [entry.key for entry in (await store.list(IDEMPOTENCY)).entries] == [PLACE]


async def test_what_is_done_is_not_called_a_failure_because_keys_cannot_be_pruned(store: MemoryStore, clock: HandClock) -> None:
    keys = Keys(store, clock)
    clock.at += 61
    await store.close()
    await keys.prune()


async def test_nothing_is_pruned_twice_within_a_minute(store: MemoryStore, clock: HandClock) -> None:
    keys = Keys(store, clock)
    await store.txn([], [keys.put(PLACE, "digest", 1)])
    clock.at += LIFE_S
    await keys.prune()
    await store.txn([], [keys.put(PLACE, "digest", 1)])
    clock.at += 1
    before = (await store.list(IDEMPOTENCY)).revision
    await keys.prune()
    assert (await store.list(IDEMPOTENCY)).revision == before


def test_what_the_service_draws_makes_no_other_wish() -> None:
    wish = PingNode(node="n1")
    assert digest_of(wish, "", (), "", "") == digest_of(replace(wish, seed="5", now=3.0), "", (), "", "")


def test_whatever_is_asked_otherwise_makes_another_wish() -> None:
    web = AddInstance(name="web1")
    wishes = {
        digest_of(web, "", (), "", ""),
        digest_of(replace(web, cpus=2), "", (), "", ""),
        digest_of(web, "#cloud-config", (), "", ""),
        digest_of(web, "", (3,), "", ""),
        digest_of(web, "", (), "because", ""),
        digest_of(web, "", (), "", "abc"),
    }
    assert len(wishes) == 6


def test_users_do_not_share_keys() -> None:
    assert key_of("anna", "one") != key_of("bob", "one")
    assert key_of("a", "b/c") != key_of("a/b", "c")


@pytest.mark.parametrize("key", ["x" * 201, "ü", "a\nb", ""])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(BadInput):
        check_key(key)
