"""Idempotency keys: a change that is sent twice under one key is one job (P15). Kept for 24 hours, bound to user and body."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import structlog

from covey.base.clock import Clock
from covey.base.errors import BadInput, CoveyError, Refused, check
from covey.model import codec
from covey.model.record import IDEMPOTENCY
from covey.model.request import Request
from covey.store.protocol import Delete, Put, Store, Unchanged

LIFE_S = 24 * 3600.0
LONGEST_KEY = 200
PRUNE_EVERY_S = 60.0
PRUNED_AT_ONCE = 100
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Use:
    """A key's record: the job that came of it, and the digest of what was asked."""

    job: int
    digest: str
    at: float


def check_key(key: str) -> None:
    """Raises BadInput."""
    check(
        0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable(),
        BadInput(f"must be 1 to {LONGEST_KEY} printable ASCII characters", "Idempotency-Key"),
    )


def key_of(user: str, key: str) -> str:
    """Where a user's key is kept; hashed, as both may hold any character."""
    return f"{IDEMPOTENCY}{hashlib.sha256(user.encode()).hexdigest()[:16]}/{hashlib.sha256(key.encode()).hexdigest()}"


def digest_of(request: Request, user_data: str, after: tuple[int, ...], reason: str, expected: str) -> str:
    """Equal for equal wishes; what the service draws for each of them does not count."""
    asked = codec.encode(request) | {"seed": "", "now": 0.0, "secret": "", "digest": "", "upload": "", "user_data": user_data}
    return hashlib.sha256(json.dumps([asked, after, reason, expected], sort_keys=True).encode()).hexdigest()


class Keys:
    """The records of keys in the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pruned_at = clock.monotonic()
        self._pruned_to = ""

    async def find(self, place: str, digest: str) -> tuple[Use | None, Unchanged]:
        """How a key was used, and the comparison under which it may be used now. Raises Refused when it was used for something else,
        Unavailable."""
        entry = await self._store.get(place)
        if entry is None:
            return None, Unchanged(place, 0)
        use = codec.from_bytes(Use, entry.value)
        if use.at + LIFE_S <= self._clock.now():
            return None, Unchanged(place, entry.revision)
        check(
            use.digest == digest,
            Refused(
                f"the key was used for something else: job {use.job}",
                "Idempotency-Key",
                "use a new key for each change that you want",
            ),
        )
        return use, Unchanged(place, entry.revision)

    def put(self, place: str, digest: str, job: int) -> Put:
        return Put(place, codec.to_bytes(Use(job, digest, self._clock.now())))

    async def prune(self) -> None:
        """Now and then, look at a few keys and remove those that are over. What it is called after is done: it raises nothing."""
        if self._clock.monotonic() - self._pruned_at < PRUNE_EVERY_S:
            return
        self._pruned_at = self._clock.monotonic()
        try:
            await self._prune()
        except CoveyError as error:  # one was used anew this moment, or the store is short: the next round looks again
            log.info("keys that are over stay for now", error=str(error))

    async def _prune(self) -> None:
        listing = await self._store.list(IDEMPOTENCY, start=self._pruned_to, limit=PRUNED_AT_ONCE)
        self._pruned_to = f"{listing.entries[-1].key}\0" if len(listing.entries) == PRUNED_AT_ONCE else ""
        end = self._clock.now() - LIFE_S
        over = [entry for entry in listing.entries if codec.from_bytes(Use, entry.value).at <= end]
        if over:
            await self._store.txn([Unchanged(entry.key, entry.revision) for entry in over], [Delete(entry.key) for entry in over])
