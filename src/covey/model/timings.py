"""How long things of a cluster take and may take: all in one place, because they lean on each other (S7)."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. Raises BadInput for a set that does not hold together.

    `lease_s`: how long a leader that is gone keeps others from leading. `renew_every_s`: between its renewals. `let_go_s`: so long
    before others may lead, a leader that could not renew has stopped by its own clock. `pause_s`: before a store or a leader that does
    not answer is asked again. `word_every_s`: between two words of the leader to those who follow it. `stale_after_s`: without a word,
    what a follower shows is called stale. `handover_s`: for so long a request waits for a controller that has won to lead."""

    lease_s: float = 5.0
    renew_every_s: float = 1.0
    let_go_s: float = 0.5
    pause_s: float = 0.5
    word_every_s: float = 1.0
    stale_after_s: float = 4.0
    handover_s: float = 3.0

    def __post_init__(self) -> None:
        check(
            0 < self.renew_every_s * 3 <= self.lease_s - self.let_go_s and self.let_go_s > 0,
            BadInput("a leader must be able to miss two renewals", "timings", "make the lease longer, or renew it more often"),
        )
        check(
            0 < self.word_every_s * 3 <= self.stale_after_s,
            BadInput("a follower must be able to miss two words", "timings", "be patient for longer"),
        )


USUAL = Timings()
