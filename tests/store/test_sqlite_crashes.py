"""What is left of a SQLite store when its process or its machine stops at any moment: a prefix of its history, with all that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey.base.clock import SystemClock
from covey.store.protocol import Batch
from covey.store.sqlite import SqliteStore
from tests.store.writing_child import RESERVE, expected

CHILD = Path(__file__).with_name("writing_child.py")


class Child:
    """A writing program, and what it has acknowledged so far."""

    def __init__(self, path: Path, seed: int, count: int) -> None:
        self.process = subprocess.Popen([sys.executable, str(CHILD), str(path), str(seed), str(count)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.acknowledged = 0
        self.lines = b""

    def read_lines(self, count: int) -> None:
        """Wait until `count` more transactions were acknowledged."""
        for _ in range(count):
            self._note(self.output.readline())

    def read_to_end(self) -> None:
        while (line := self.output.readline()) != b"end\n":
            assert line, "the program ended early"
            self._note(line)

    def read_what_is_there(self) -> None:
        """All that a stopped or killed program has acknowledged."""
        os.set_blocking(self.output.fileno(), False)
        for line in iter(self.output.readline, b""):
            self._note(line)
        os.set_blocking(self.output.fileno(), True)

    def _note(self, line: bytes | None) -> None:
        if line and line.endswith(b"\n") and line != b"end\n":
            self.acknowledged = max(self.acknowledged, int(line))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The moment of a power cut, as long as one needs to look at it."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        yield
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.read_what_is_there()
        self.output.close()


@contextmanager
def writing(path: Path, seed: int, count: int = 1_000_000) -> Iterator[Child]:
    child = Child(path, seed, count)
    try:
        yield child
    finally:
        if child.process.returncode is None:
            child.kill()


def integrity(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        finding = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return str(finding)


async def records_and_log(path: Path) -> tuple[int, dict[str, bytes], list[Batch]]:
    """Open a store; its revision, its records, and the last of its change log."""
    store = await SqliteStore.open(path, SystemClock(), kept=500, reserve=RESERVE)
    listing = await store.list("")
    revision = listing.revision
    log = []
    if revision:
        async for batch in store.watch("", max(1, revision - 100)):
            log.append(batch)
            if batch.revision == revision:
                break
    await store.close()
    return revision, {entry.key: entry.value for entry in listing.entries}, log


def check_is_a_prefix(path: Path) -> int:
    """The revision of a store, after a check that it holds exactly what was written up to there."""
    revision, records, log = asyncio.run(records_and_log(path))
    assert records == expected(revision)
    replayed = expected(max(0, revision - 101))
    for batch in log:
        for change in batch.changes:
            if change.value is None:
                replayed.pop(change.key, None)
            else:
                replayed[change.key] = change.value
    assert replayed == records
    assert integrity(path) == "ok"
    return revision


def copy_of(path: Path, directory: Path) -> Path:
    directory.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), directory / name)
    return directory / path.name


def test_a_copy_at_any_moment_is_a_consistent_prefix_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(4)
    with writing(path, seed=4) as child:
        for number in range(15):
            child.read_lines(chance.randint(1, 300))
            with child.stopped():
                child.read_what_is_there()
                copied = copy_of(path, tmp_path / f"copy{number}")
            assert check_is_a_prefix(copied) >= child.acknowledged
        assert path.stat().st_size > 2**18, "the log was carried over into the database while copies were made"


def test_every_acknowledged_transaction_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(9)
    for seed in range(6):
        with writing(path, seed) as child:
            child.read_lines(chance.randint(1, 200))
            child.kill()
        assert check_is_a_prefix(path) >= child.acknowledged > 0


def test_a_torn_write_ahead_log_leaves_whole_transactions(tmp_path: Path) -> None:
    """A power cut may leave any part of the log's unflushed end, and rubbish after it."""
    path = tmp_path / "store.db"
    with writing(path, seed=1, count=150) as child:
        child.read_to_end()
        child.kill()
    log = path.with_name("store.db-wal").read_bytes()
    chance = random.Random(2)
    revisions = []
    for number, length in enumerate(sorted(chance.sample(range(len(log) // 4, len(log)), 30))):
        torn = copy_of(path, tmp_path / f"torn{number}")
        rubbish = chance.randbytes(chance.choice((0, 100, 10_000)))
        torn.with_name("store.db-wal").write_bytes(log[:length] + rubbish)
        revisions.append(check_is_a_prefix(torn))
    assert revisions == sorted(revisions)
    assert 0 < revisions[0] < revisions[-1] <= 150
