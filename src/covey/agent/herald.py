"""A guest that begins to run here is announced: it may have run on another node a moment ago."""

from __future__ import annotations

import asyncio

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.host import arrivals
from covey.host.host import Host

PAUSES_S = (0.0, 1.5)  # before each time: frames get lost, and Linux believes no second word about an address within a second
log = structlog.get_logger()


class Herald:
    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._at_work: set[asyncio.Task[None]] = set()

    def arrived(self, instance: str) -> None:
        """A guest runs here from now on. One that is gone again meanwhile has no interface, and nothing is said of it."""
        task = asyncio.create_task(self._announce(instance), name=f"announce {instance}")
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _announce(self, instance: str) -> None:
        try:
            for pause in PAUSES_S:
                await self._clock.sleep(pause)
                await arrivals.announce(self._host, instance)
        except CoveyError as error:
            log.warning("cannot announce a guest", instance=instance, error=str(error))

    async def close(self) -> None:
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
