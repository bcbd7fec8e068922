"""What a person does on one machine while nobody leads it (S19)."""

from __future__ import annotations

from dataclasses import dataclass

START, STOP = "start", "stop"


@dataclass(frozen=True, slots=True)
class LocalAct:
    """One `covey local start` or `stop`: written down by the agent before it is done, told to the next leader. `generation` is that of the
    run which began or ended by it; `by` is a user of that machine. `failed` says why it came to nothing, "" while it is under way and
    once it is done. `told` ones a leader has taken in."""

    id: str
    what: str  # start | stop
    instance: str
    name: str
    generation: int
    at: float
    by: str
    reason: str = ""
    failed: str = ""
    told: bool = False

    @property
    def wish(self) -> str:
        """What the person wants it to be from then on, as records say it."""
        return "running" if self.what == START else "stopped"
