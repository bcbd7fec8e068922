"""Where this controller stands: it leads, or follows one that does; and how new what it shows is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from covey.base.clock import Clock
from covey.base.errors import Unavailable
from covey.controller.backups import Backups
from covey.controller.way import Way
from covey.engine.engine import Engine
from covey.engine.queue import Blocked
from covey.model.job import Leadership
from covey.model.node import Node
from covey.model.order import Progress
from covey.model.timings import USUAL, Timings
from covey.service.nodes import Nodes
from covey.store.feed import Feed

Ways = Callable[[str, str], Way]  # by node and address


@dataclass(frozen=True, slots=True)
class Lead:
    """What only a leader has."""

    engine: Engine
    nodes: Nodes
    backups: Backups | None = None


class Blocker(NamedTuple):
    """What a queued job waits for, as the leader tells it."""

    object: str
    by: int


def _no_way(node: str, address: str) -> Way:
    raise Unavailable("there is no way from here to the controller that leads", "cluster", f"ask it: {address or node}")


class Standing:
    """`lead` is there while this controller leads. What the leader says of its nodes and jobs is kept here while it does not."""

    def __init__(
        self, feed: Feed, clock: Clock, lead: Lead | None = None, node: str = "", ways: Ways = _no_way, timings: Timings = USUAL
    ) -> None:
        self.node = node  # this one's
        self.timings = timings
        self.lead = lead
        self.progress: Mapping[int, Progress] = {}
        self.blockers: Mapping[int, Blocker] = {}
        self._feed = feed
        self._clock = clock
        self._ways = ways
        self._known: dict[tuple[str, str], Way] = {}
        self._fresh_at = clock.now()  # when the view was known to hold all that was written
        self._fresh_monotonic = clock.monotonic()

    # --- leading -------------------------------------------------------------------------------------------------------------------
    def leading(self) -> Lead:
        """Raises Unavailable while this controller does not lead."""
        if self.lead is None:
            raise Unavailable("this controller does not lead", "cluster", f"try again in a moment: {self.sight()}")
        return self.lead

    def blocked(self, job: int) -> Blocked | Blocker | None:
        """What a queued job waits for, if it is known."""
        return self.lead.engine.blocked(job) if self.lead else self.blockers.get(job)

    def progress_of(self, job: int) -> Progress | None:
        return (self.lead.nodes.progress if self.lead else self.progress).get(job)

    # --- following -----------------------------------------------------------------------------------------------------------------
    @property
    def leadership(self) -> Leadership | None:
        """Whom the records name as leading."""
        return self._feed.view.leadership

    def way(self) -> Way | None:
        """The way to who leads; None when that is this controller, or nobody. Raises Unavailable when there is none."""
        named = self.leadership
        if named is None or named.holder == self.node:
            return None
        where = (named.holder, named.address)
        if where not in self._known:
            self._known[where] = self._ways(*where)
        return self._known[where]

    async def close(self) -> None:
        for way in self._known.values():
            await way.close()
        self._known.clear()

    async def settled(self) -> None:
        """Until this controller leads, when it is just about to; not for long."""
        deadline = self._clock.monotonic() + self.timings.handover_s
        while self.lead is None and self._is_named() and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.05)

    def _is_named(self) -> bool:
        return self.leadership is not None and self.leadership.holder == self.node

    def freshen(self) -> None:
        """The leader said something, and the view holds all that it spoke of."""
        self._fresh_at = self._clock.now()
        self._fresh_monotonic = self._clock.monotonic()
        self._feed.trouble = ""

    @property
    def stale_as_of(self) -> float | None:
        """Since when what is shown here may be old; None when it is new."""
        if self.lead or self._clock.monotonic() - self._fresh_monotonic <= self.timings.stale_after_s:
            return None
        return self._fresh_at

    def sight(self) -> str:
        """What this controller sees of who leads, in words."""
        named = self.leadership
        if named is None:
            who = "nobody has led yet"
        elif named.holder == self.node:
            who = "this one led last" if self.stale_as_of else "this one is about to lead"
        else:
            record = self._feed.view.find("node", named.holder)
            who = f"{record.name if isinstance(record, Node) else named.holder} leads by the records, epoch {named.epoch}"
        silent = self.stale_as_of
        if silent is not None:
            who += f", and nothing was heard of it for {self._clock.now() - silent:.0f} s"
        return who + (f"; the store does not answer here: {self._feed.trouble}" if self._feed.trouble else "")

    def nobody(self, why: str = "") -> Unavailable:
        """The refusal of a change that has nobody to do it."""
        what = f"nobody leads whom this controller can ask: {self.sight()}"
        return Unavailable(
            f"{what} ({why})" if why else what,
            "cluster",
            "try again in some seconds, and look what became of it; if it lasts, see that most machines run and reach each other",
        )
