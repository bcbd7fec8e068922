"""A store on a disk that fills: its reserve carries it a while, then it refuses by name, and it is well again when there is room."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from covey.base.errors import NoSpace
from covey.store.protocol import Put
from covey.store.sqlite import SqliteStore

DISK = 8 * 2**20
RESERVE = 2**20


class SetClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "covey-test", str(mounted)], check=True, timeout=20)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True, timeout=20)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(disk: Path, clock: SetClock) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    yield opened
    await opened.close()


def fill(disk: Path, leave: int = 0) -> None:
    """What guests do to a disk: take all of it, save `leave` bytes."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**16, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - leave)


async def write_until_full(store: SqliteStore, disk: Path) -> int:
    """Write large records, on a disk that somebody else fills too, until one is refused; how many were written."""
    for number in range(200):
        try:
            await store.txn([], [Put(f"large/{number}", bytes(100_000))])
        except NoSpace as error:
            assert error.object == str(disk / "store.db")
            assert str(disk) in error.hint
            return number
    raise AssertionError("200 records of 100 kB fitted on a full disk")


async def test_the_reserve_is_really_allocated(store: SqliteStore, disk: Path) -> None:
    assert not store.reserve_used
    assert (disk / "store.db.reserve").stat().st_blocks * 512 == RESERVE


async def test_the_reserve_carries_a_store_over_a_full_disk(store: SqliteStore, disk: Path) -> None:
    fill(disk)
    assert await store.txn([], [Put("a", bytes(200_000))]) == 1
    assert store.reserve_used
    assert (disk / "store.db.reserve").stat().st_blocks == 0
    entry = await store.get("a")
    assert entry is not None
    assert len(entry.value) == 200_000


async def test_when_the_reserve_is_gone_a_transaction_is_refused_and_nothing_is_written(store: SqliteStore, disk: Path) -> None:
    seen: list[int] = []

    async def follow() -> None:
        async for batch in store.watch("", 1):
            seen.append(batch.revision)

    follower = asyncio.ensure_future(follow())
    fill(disk)
    written = await write_until_full(store, disk)
    assert written > 0
    fill(disk)
    before = await store.list("")
    assert len(before.entries) == before.revision == written
    results = await asyncio.gather(
        *(store.txn([], [Put(f"more/{number}", bytes(50_000))]) for number in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, NoSpace) for result in results)
    assert await store.list("") == before
    assert await store.txn([], []) == written
    await store.close()
    await follower
    assert seen == list(range(1, written + 1))


async def test_a_store_is_well_again_when_there_is_room_and_takes_its_reserve_again(
    store: SqliteStore, disk: Path, clock: SetClock
) -> None:
    fill(disk)
    written = await write_until_full(store, disk)
    assert store.reserve_used
    clock.seconds += 60
    fill(disk, leave=3 * RESERVE)
    assert await store.txn([], [Put("a", b"1")]) == written + 1
    assert await store.txn([], [Put("a", b"2")]) == written + 2
    assert store.reserve_used, "a disk with little room keeps it"
    (disk / "filler").unlink()
    await store.txn([], [Put("a", b"3")])
    assert store.reserve_used, "the disk is asked only now and then"
    clock.seconds += 60
    await store.txn([], [Put("a", b"4")])
    await store.txn([], [])  # the writer sees to its reserve after it has answered
    assert not store.reserve_used
    assert (disk / "store.db.reserve").stat().st_blocks * 512 == RESERVE


async def test_a_store_opens_on_a_full_disk_with_the_help_of_its_reserve(store: SqliteStore, disk: Path, clock: SetClock) -> None:
    await store.txn([], [Put("a", b"1")])
    await store.close()
    fill(disk)
    again = await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    assert again.reserve_used
    assert await again.get("a")
    assert await again.txn([], [Put("b", b"2")]) == 2
    await again.close()


async def test_what_was_written_before_the_disk_was_full_is_there_after_it(
    store: SqliteStore, disk: Path, clock: SetClock
) -> None:
    fill(disk)
    written = await write_until_full(store, disk)
    fill(disk)
    await store.close()
    (disk / "filler").unlink()
    again = await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    assert (await again.list("")).revision == len((await again.list("")).entries) == written
    await again.close()


async def test_a_new_store_does_not_fit_on_a_full_disk(disk: Path, clock: SetClock) -> None:
    fill(disk)
    with pytest.raises(NoSpace) as caught:
        await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    assert caught.value.object == str(disk / "store.db")


async def test_a_short_disk_is_not_burdened_with_a_reserve(disk: Path, clock: SetClock) -> None:
    fill(disk, leave=2 * RESERVE)
    store = await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    assert store.reserve_used
    assert await store.txn([], [Put("a", b"1")]) == 1
    await store.close()


async def test_a_sparse_reserve_of_a_restored_backup_is_made_real(disk: Path, clock: SetClock) -> None:
    with (disk / "store.db.reserve").open("wb") as file:
        file.truncate(RESERVE)
    store = await SqliteStore.open(disk / "store.db", clock, reserve=RESERVE)
    assert not store.reserve_used
    assert (disk / "store.db.reserve").stat().st_blocks * 512 == RESERVE
    await store.close()
