"""What holds after the records were brought back from a backup, or from what one machine had left of them (S14)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

RESTORED, RECOVERED = "restored", "recovered"


@dataclass(frozen=True, slots=True)
class Restoration:
    """The last time that the records were brought back. A record. They say how things were at `made_at`; what was done until `at` may be on
    the nodes, and is in no record. Jobs with numbers above `last_job`, up to `lost_to`, did it. Until `done_at` the healer rests and nothing is
    changed: first the records are raised to what runs (`cluster reconcile`), `without` the nodes that were declared dead, for that reason."""

    how: str  # restored | recovered
    at: float
    made_at: float
    incarnation: int
    last_job: int
    lost_to: int
    by: str
    done_at: float = 0.0
    without: tuple[str, ...] = ()  # names of nodes
    because: str = ""
    id: str = "last"

    def __str__(self) -> str:
        return f"the records, {self.how}"

    @property
    def is_open(self) -> bool:
        return not self.done_at

    @property
    def sentence(self) -> str:
        then = datetime.fromtimestamp(self.made_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"the records were {self.how} by {self.by}, as they were on {then}; nothing is started or changed until cluster reconcile"

    def has_lost(self, job: int) -> bool:
        """Whether a job of that number did what the records do not know."""
        return self.last_job < job <= self.lost_to
