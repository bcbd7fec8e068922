"""The purger: what was removed and has been kept long enough is gone for good, by a job like any other."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from covey.base.clock import Clock, render_time
from covey.base.errors import CoveyError
from covey.controller.healer import USER
from covey.engine.engine import Engine
from covey.model.job import Job
from covey.model.removed import Removed
from covey.model.requests.repair import PurgeRemoved
from covey.model.view import ClusterView
from covey.store.feed import Feed

LOOK_EVERY_S = 10.0
FAILED_PAUSE_S = 600.0  # before a purge that failed is tried again
AT_ONCE = 20
log = structlog.get_logger()


class Purger:
    def __init__(self, feed: Feed, engine: Engine, clock: Clock, draw: Callable[[], str]) -> None:
        """`draw` gives 32 random hex digits, the seed of a request (P6)."""
        self._feed = feed
        self._engine = engine
        self._clock = clock
        self._draw = draw
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await self.purge()
            await self._clock.sleep(LOOK_EVERY_S)

    async def purge(self) -> None:
        """A job for each that is due."""
        now = self._clock.now()
        view = self._feed.view
        self._not_before = {id: at for id, at in self._not_before.items() if view.find("removed", id)}
        due = (
            []
            if view.is_reconciling
            else [removed for removed in due_at(view, now) if self._not_before.get(removed.id, 0.0) <= now]
        )
        for removed in due[:AT_ONCE]:
            self._not_before[removed.id] = now + FAILED_PAUSE_S
            request = PurgeRemoved(removed=removed.id, name=removed.title, seed=self._draw(), now=now)
            why = f"removed {render_time(removed.removed_at)}, kept until {render_time(removed.keep_until)}"
            try:
                await self._engine.submit(Job(0, request, USER, "queued", now, reason=why))
            except CoveyError as error:
                log.warning("could not purge; trying again", what=request.title, error=str(error))


def due_at(view: ClusterView, now: float) -> list[Removed]:
    """What has been kept long enough and no job is at, the oldest first. Pure."""
    due = [removed for removed in view.removed if removed.keep_until <= now]
    at_work = {job.request.removed for job in view.jobs if isinstance(job.request, PurgeRemoved)} if due else set()
    free = [one for one in due if one.id not in at_work and not view.job_at_work_on(f"removed/{one.id}")]
    return sorted(free, key=lambda removed: (removed.keep_until, removed.id))
