"""The janitor: ended jobs are kept for 30 days, and 10,000 of them, unless the settings say otherwise (P15)."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.engine.ledger import Ledger, history_key
from covey.model import record as records
from covey.store.protocol import Delete, Store

EVERY_S = 600.0
AT_ONCE = 100
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retention:
    """How many ended jobs are kept, and for how many seconds: whichever limit is reached first."""

    jobs: int = 10_000
    jobs_s: float = 30 * 86400.0


class Janitor:
    def __init__(self, store: Store, ledger: Ledger, clock: Clock, kept: Retention = Retention()) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._kept = kept

    async def run(self) -> None:
        while True:
            try:
                while await self.sweep():
                    pass
            except CoveyError as error:
                log.warning("old jobs could not be dropped; trying again later", error=str(error))
            await self._clock.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Drop some of the oldest jobs that are over the limit or too old; returns how many. The newest stays, however old: numbers go on
        from it."""
        newest = await self._store.list(records.HISTORY, limit=1, descending=True)
        if not newest.entries:
            return 0
        first_kept = history_key(max(int(newest.entries[0].key.removeprefix(records.HISTORY)) - self._kept.jobs + 1, 0))
        oldest = await self._store.list(records.HISTORY, limit=AT_ONCE)
        before = self._clock.now() - self._kept.jobs_s
        over = [
            entry.key
            for entry in oldest.entries
            if entry.key != newest.entries[0].key
            and (entry.key < first_kept or records.ended_from_bytes(entry.value).job.ended_at < before)
        ]
        if over:
            await self._ledger.write([Delete(key) for key in over])
        return len(over)
