"""Backups by themselves: when, how many, and what is told when one cannot be made."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.base.errors import CoveyError, StepFailed
from covey.controller.backups import TRY_AGAIN_S, YOUNG_S, Backups, Vault
from covey.controller.lead import take_leadership
from covey.engine.ledger import Ledger
from covey.model.backup import Backup
from covey.model.record import key_of, to_bytes
from covey.store.backup import unpack
from covey.store.feed import Feed
from covey.store.memory import MemoryData, MemoryStore
from covey.store.protocol import Put
from tests.kit.builders import a_cluster_record, a_node
from tests.kit.virtual import in_virtual_time, virtual_clock

EVERY_S = 7200.0  # in place of a day


class Stage:
    def __init__(self, directory: Path) -> None:
        self.clock = virtual_clock()
        self.store = MemoryStore(MemoryData(), self.clock)
        self.feed = Feed(self.store)
        self.vault = Vault(directory / "backups", a_node().id, lambda: {"ca.key": "k"}, keep=3, every_s=EVERY_S)

    async def backups(self) -> Backups:
        """Of a leader that has just begun."""
        leadership, revision = await take_leadership(self.store, self.clock, "n1")
        return Backups(self.store, self.feed, Ledger(self.store, self.clock, leadership, revision), self.clock, self.vault)

    @property
    def last(self) -> Backup:
        found: Backup | None = self.feed.view.find("backup", "last")
        assert found
        return found

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.vault.directory.glob("*"))


async def a_stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    cluster = a_cluster_record(created_at=stage.clock.now())
    await stage.store.txn((), [Put(key_of(record), to_bytes(record)) for record in (cluster, a_node())])
    await stage.feed.start()
    return stage


async def led_for(stage: Stage, seconds: float) -> None:
    leading = asyncio.create_task((await stage.backups()).run())
    await asyncio.sleep(seconds)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


@in_virtual_time
async def test_one_is_made_each_time_that_it_is_due_and_the_latest_are_kept(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path)
    await led_for(stage, YOUNG_S - 60)
    assert stage.files == []
    await led_for(stage, 60 + 2 * EVERY_S + 120)
    assert len(stage.files) == 3
    oldest = stage.files[0]
    await led_for(stage, EVERY_S)
    assert len(stage.files) == 3 and oldest not in stage.files
    content = unpack(Path(stage.last.file).read_bytes(), "file")
    assert content.files == {"ca.key": "k"}
    assert Path(stage.last.file).stat().st_mode & 0o777 == 0o600


@in_virtual_time
async def test_when_the_next_is_due_survives_whoever_leads(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path)
    await led_for(stage, YOUNG_S + 120)
    assert len(stage.files) == 1
    for _ in range(10):
        await led_for(stage, EVERY_S / 20)
    assert len(stage.files) == 1
    await led_for(stage, EVERY_S)
    assert len(stage.files) == 2


@in_virtual_time
async def test_one_that_cannot_be_made_is_told_of_and_tried_again(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path)
    stage.vault.directory.write_text("in the way")
    await led_for(stage, YOUNG_S + 120)
    assert stage.last.failed_at and "cannot be written" not in stage.last.error and stage.last.error
    stage.vault.directory.unlink()
    await led_for(stage, TRY_AGAIN_S + 120)
    assert not stage.last.failed_at
    assert len(stage.files) == 1


@in_virtual_time
async def test_who_asks_for_one_is_told_why_there_is_none(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path)
    stage.vault.directory.write_text("in the way")
    backups = await stage.backups()
    with pytest.raises(StepFailed) as failed:
        await backups.make()
    assert "[backup] directory" in failed.value.hint


@in_virtual_time
async def test_others_backups_in_the_same_directory_are_left_alone(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path)
    stage.vault.directory.mkdir()
    for number in range(9):
        (stage.vault.directory / f"covey-other-2026010{number}T000000Z.backup").write_text("")
    backups = await stage.backups()
    for _ in range(5):
        await backups.make()
        await asyncio.sleep(2)
    assert len([name for name in stage.files if "other" in name]) == 9
    assert len(stage.files) == 9 + 3


@in_virtual_time
async def test_before_there_is_a_cluster_there_is_nothing_to_keep(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.feed.start()
    await led_for(stage, 3 * EVERY_S)
    assert stage.files == []
    with pytest.raises(CoveyError, match="no cluster"):
        await (await stage.backups()).make()
