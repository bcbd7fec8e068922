"""The files of a SQLite store: whose they are, who may open them, what is refused, and how large they grow."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import NotFound, Refused, Unavailable
from covey.store.protocol import Delete, Put
from covey.store.sqlite import SqliteStore
from covey.store.sqlite_file import open_writer

RESERVE = 2**16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@asynccontextmanager
async def opened(path: Path, kept: int = 10_000, reserve: int = RESERVE) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, SystemClock(), kept=kept, reserve=reserve)
    try:
        yield store
    finally:
        await store.close()


async def test_only_its_owner_can_read_a_store(path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(path) as store:
            await store.txn([], [Put("secret", b"s")])
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock", "store.db.reserve"), 384)


async def test_a_store_that_others_could_read_is_made_private(path: Path) -> None:
    async with opened(path):
        pass
    path.chmod(0o644)
    async with opened(path):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_closing_leaves_everything_in_the_database_file(path: Path) -> None:
    async with opened(path) as store:
        await store.txn([], [Put("a", b"1")])
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock", "store.db.reserve"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key, value, revision FROM entry").fetchall() == [("a", b"1", 1)]


async def test_transactions_under_way_are_finished_by_closing(path: Path) -> None:
    async with opened(path) as store:
        writing = [asyncio.ensure_future(store.txn([], [Put(f"k{number}", b"")])) for number in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*writing) == list(range(1, 51))
    async with opened(path) as store:
        assert len((await store.list("")).entries) == 50


async def test_a_second_opening_is_refused_and_names_the_process_that_has_it(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(Refused) as caught:
            await SqliteStore.open(path, SystemClock(), reserve=RESERVE)
        assert str(os.getpid()) in caught.value.what
        assert caught.value.object == str(path)
        assert await store.txn([], [Put("a", b"")]) == 1
    async with opened(path) as store:
        assert await store.txn([], []) == 1


def test_another_process_that_has_it_open_is_named(path: Path) -> None:
    child = Path(__file__).with_name("writing_child.py")
    with subprocess.Popen([sys.executable, str(child), str(path), "0", "1"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(Refused) as caught:
            asyncio.run(SqliteStore.open(path, SystemClock(), reserve=RESERVE))
        process.kill()
    assert f"process {process.pid} " in caught.value.what


async def test_a_store_needs_its_directory(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await SqliteStore.open(tmp_path / "nowhere" / "store.db", SystemClock())


async def test_a_directory_in_its_place_is_no_store(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Unavailable) as caught:
        await SqliteStore.open(path, SystemClock(), reserve=RESERVE)
    assert caught.value.object == str(path)


async def assert_refused_untouched(path: Path, says: str) -> None:
    before = path.read_bytes()
    with pytest.raises(Refused) as caught:
        await SqliteStore.open(path, SystemClock(), reserve=RESERVE)
    assert says in caught.value.what
    assert caught.value.object == str(path)
    assert caught.value.hint
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 1_000)
    await assert_refused_untouched(path, "no sound database")


async def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entry (key TEXT)")
    await assert_refused_untouched(path, "not Covey's")


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.txn([], [Put("a", b"1")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    await assert_refused_untouched(path, "newer Covey")


async def test_a_database_with_one_damaged_page_is_refused_at_once(path: Path) -> None:
    async with opened(path, kept=1) as store:
        await asyncio.gather(*(store.txn([], [Put(f"k{number:04}", b"needle" * 20)]) for number in range(1_000)))
        await asyncio.gather(*(store.txn([], [Put("other", b"")]) for number in range(1_000)))
    data = bytearray(path.read_bytes())
    page = data.index(b"k0500" + b"needle") // 4096 * 4096
    data[page : page + 8] = b"\xa5" * 8
    path.write_bytes(data)
    await assert_refused_untouched(path, "no sound database")


async def test_a_transaction_that_was_answered_has_been_flushed(path: Path) -> None:
    """A test cannot cut the power; it can ask what SQLite was told to do at each commit (2: FULL)."""
    with closing(open_writer(path)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_flood_of_large_transactions_does_not_make_a_long_log(path: Path) -> None:
    async with opened(path, kept=1) as store:
        await asyncio.gather(*(store.txn([], [Put("large", bytes(1_400_000))]) for _ in range(60)))
        assert path.with_name("store.db-wal").stat().st_size < 40 * 2**20  # of 84 MB written


async def test_a_log_without_its_database_is_not_thrown_away(path: Path) -> None:
    path.touch()
    log = path.with_name("store.db-wal")
    log.write_bytes(b"records")
    await assert_refused_untouched(path, "write-ahead log")
    path.unlink()
    with pytest.raises(Refused):
        await SqliteStore.open(path, SystemClock(), reserve=RESERVE)
    assert log.read_bytes() == b"records"


async def test_the_log_and_the_change_log_stay_bounded(path: Path) -> None:
    async with opened(path, kept=50) as store:
        largest = 0
        for _ in range(60):
            await asyncio.gather(*(store.txn([], [Put(f"k{place}", bytes(20_000))]) for place in range(50)))
            largest = max(largest, path.with_name("store.db-wal").stat().st_size)
    assert largest < 40 * 2**20  # of 120 MiB written
    assert path.stat().st_size < 20 * 2**20
    with closing(sqlite3.connect(path)) as connection:
        assert 50 <= connection.execute("SELECT count(*) FROM change").fetchone()[0] < 50 + 256 + 50


async def test_a_change_log_that_is_far_too_long_is_shortened_slice_by_slice(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(20):
            await asyncio.gather(*(store.txn([], [Put("a", b"")]) for _ in range(100)))
    async with opened(path, kept=100) as store:
        for _ in range(3):
            await store.txn([], [Put("a", b"")])
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM change").fetchone()[0] == 2_003 - 3 * 256
        for _ in range(10):
            await store.txn([], [Put("a", b"")])
        with closing(sqlite3.connect(path)) as connection:
            assert 100 <= connection.execute("SELECT count(*) FROM change").fetchone()[0] < 100 + 256


async def test_a_store_that_was_meddled_with_answers_but_writes_no_more(path: Path) -> None:
    async with opened(path) as store:
        await store.txn([], [Put("a", b"1")])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TRIGGER no BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no'); END")
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await store.txn([], [Put("b", b"1")])
            assert caught.value.object == str(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TRIGGER no")
        with pytest.raises(Unavailable):
            await store.txn([], [Put("b", b"1")])
        assert await store.get("b") is None
        assert await store.get("a")
    async with opened(path) as store:
        assert await store.txn([], [Put("b", b"1")]) == 2


async def test_a_database_that_another_program_holds_is_unavailable_until_it_lets_go(path: Path) -> None:
    async with opened(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await store.txn([], [Put("a", b"1")])
        assert await store.txn([], [Put("a", b"1")]) == 1


async def test_a_page_of_a_long_listing_costs_little(path: Path) -> None:
    async with opened(path) as store:
        for part in range(20):
            await asyncio.gather(*(store.txn([], [Put(f"k/{part}/{number}", b"v" * 300)]) for number in range(500)))

        async def cost(limit: int, descending: bool, start: str) -> float:
            begin = time.perf_counter()
            await store.list("k/", limit=limit, descending=descending, start=start)
            return time.perf_counter() - begin

        whole = min([await cost(0, False, "") for _ in range(5)])
        for descending in (False, True):
            for start in ("", "k/15/"):
                assert min([await cost(10, descending, start) for _ in range(5)]) < whole / 20


async def test_transactions_asked_for_together_share_a_flush(path: Path) -> None:
    """Against raw commits of one thread, measured in the same run."""
    with closing(sqlite3.connect(path.with_name("raw.db"), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB)")
        async with opened(path) as store:
            raw, serial, together = [], [], []
            for turn in range(5):
                begin = time.perf_counter()
                for number in range(100):
                    connection.execute("INSERT INTO entry VALUES (?, ?)", (f"{turn}/{number}", b"v" * 300))
                raw.append((time.perf_counter() - begin) / 100)
                begin = time.perf_counter()
                for number in range(100):
                    await store.txn([], [Put(f"{turn}/{number}", b"v" * 300)])
                serial.append((time.perf_counter() - begin) / 100)
                begin = time.perf_counter()
                await asyncio.gather(*(store.txn([], [Put(f"{turn}/{number}", b"w" * 300)]) for number in range(500)))
                together.append((time.perf_counter() - begin) / 500)
    # the best of several turns: other programs use this disk and these processors too
    assert min(shared / alone for shared, alone in zip(together, raw, strict=True)) < 1 / 2
    assert min(one - alone for one, alone in zip(serial, raw, strict=True)) < 0.0003


async def test_deleting_everything_gives_the_space_to_what_comes(path: Path) -> None:
    async with opened(path, kept=10) as store:
        for _ in range(10):
            await asyncio.gather(*(store.txn([], [Put(f"k{number}", bytes(10_000))]) for number in range(100)))
            await asyncio.gather(*(store.txn([], [Delete(f"k{number}")]) for number in range(100)))
    assert path.stat().st_size < 10 * 2**20
