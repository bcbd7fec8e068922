"""Backups of the records: once a day by itself, and whenever somebody asks.

When the next one is due follows from the record of the last, so it survives restarts and changes of who leads. The file lies where the leader
of that moment is; the oldest go.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError, NoSpace, StepFailed
from covey.base.files import write_durably
from covey.engine.ledger import Ledger
from covey.model import record as records
from covey.model.backup import Backup
from covey.store.backup import take, unpack
from covey.store.feed import Feed
from covey.store.protocol import Put, Store

SUFFIX = ".backup"
LOOK_EVERY_S = 60.0
YOUNG_S = 600.0  # a cluster that was just made is about to change
TRY_AGAIN_S = 1800.0
_NAME = re.compile(r"covey-(.+)-\d{8}T\d{6}Z\.backup")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Vault:
    """Where backups are kept on this machine, how many, and how often one is made. `files` reads those of the cluster's authority, by
    name, as far as they are here; `node` is this machine's id."""

    directory: Path
    node: str
    files: Callable[[], Mapping[str, str]]
    keep: int = 7
    every_s: float = 86400.0

    def kept(self, cluster: str) -> list[Path]:
        """The backups of that cluster here, the oldest first."""
        found = self.directory.glob(f"*{SUFFIX}") if self.directory.is_dir() else ()
        return sorted(path for path in found if (name := _NAME.fullmatch(path.name)) and name[1] == cluster)


class Backups:
    """The leader's."""

    def __init__(self, store: Store, feed: Feed, ledger: Ledger, clock: Clock, vault: Vault) -> None:
        self.vault = vault
        self._store = store
        self._feed = feed
        self._ledger = ledger
        self._clock = clock
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Make one whenever it is due."""
        while True:
            if self._is_due():
                try:
                    await self.make()
                except CoveyError as error:
                    log.warning("the backup failed; trying again later", error=str(error))
            await self._clock.sleep(LOOK_EVERY_S)

    async def content(self) -> bytes:
        """A backup of this moment. Raises Refused before `cluster init`, Unavailable."""
        view = self._feed.view
        view.check_initialised()
        node = view.find("node", self.vault.node)
        files = await asyncio.to_thread(self.vault.files)
        return await take(self._store, files, self._clock.now(), node.name if node else self.vault.node)

    async def make(self) -> Backup:
        """A backup is in the directory, and the oldest are gone. Raises Refused before `cluster init`, NoSpace, StepFailed, Unavailable; why
        is recorded, too."""
        async with self._making:
            try:
                data = await self.content()
                path = self._path()
                await asyncio.to_thread(self._keep, path, data)
            except (CoveyError, OSError) as error:
                await self._record_failure(str(error))
                raise self._failure(error) from error
            made = Backup(self._clock.now(), self.vault.node, str(path), len(data))
            await self._record(made)
            return made

    def _is_due(self) -> bool:
        view = self._feed.view
        if not view.is_initialised or view.is_reconciling:
            return False
        last = last_backup(view.find("backup", "last"))
        now = self._clock.now()
        if last.failed_at:
            return now - last.failed_at >= TRY_AGAIN_S
        return now - last.made_at >= self.vault.every_s and now - view.cluster.created_at >= YOUNG_S

    def _path(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.now()))
        return self.vault.directory / f"covey-{self._feed.view.cluster.name}-{stamp}{SUFFIX}"

    def _keep(self, path: Path, data: bytes) -> None:
        """Raises OSError, and Refused when what was written cannot be read again."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, data)
        unpack(path.read_bytes(), str(path))
        for old in self.vault.kept(self._feed.view.cluster.name)[: -self.vault.keep]:
            old.unlink(missing_ok=True)

    def _failure(self, error: CoveyError | OSError) -> CoveyError:
        if isinstance(error, CoveyError):
            return error
        where, advice = (
            str(self.vault.directory),
            "make room there, or name another directory in the settings: [backup] directory",
        )
        kind = NoSpace if error.errno in (28, 122) else StepFailed  # ENOSPC, EDQUOT
        return kind(f"the backup cannot be written: {error.strerror}", where, advice)

    async def _record_failure(self, why: str) -> None:
        """Once, however often it is tried again."""
        last = last_backup(self._feed.view.find("backup", "last"))
        await self._record(replace(last, failed_at=self._clock.now(), error=why))

    async def _record(self, backup: Backup) -> None:
        if self._feed.view.is_initialised:
            await self._feed.reached(await self._ledger.write([Put(records.key_of(backup), records.to_bytes(backup))]))


def last_backup(found: Backup | None) -> Backup:
    return found or Backup()
