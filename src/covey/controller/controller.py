"""The controller: everything that leads, together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from covey.base.clock import Clock
from covey.controller.fleet import Fleet, Ways
from covey.controller.healer import Healer
from covey.controller.hearing import Hearing
from covey.controller.janitor import Janitor, Retention
from covey.controller.lead import take_leadership
from covey.controller.purger import Purger
from covey.engine.engine import Engine
from covey.engine.ledger import Ledger
from covey.planner import plan
from covey.store.feed import Feed
from covey.store.protocol import Store


class Controller:
    """Made by `lead`; `run` works until cancelled, or ends with Deposed when somebody else leads."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        ledger: Ledger,
        clock: Clock,
        ways: Ways,
        draw: Callable[[int], str],
        kept: Retention = Retention(),
    ) -> None:
        self.feed = feed
        self.hearing = Hearing(feed, ledger, clock)
        self.fleet = Fleet(ways, ledger.epoch, feed, self.hearing, clock)
        self.engine = Engine(store, feed, ledger, self.fleet, clock, plan)
        self.janitor = Janitor(store, ledger, clock, kept)
        self.purger = Purger(feed, self.engine, clock, lambda: draw(16))
        self.healer = Healer(feed, self.engine, ledger, self.fleet, clock, lambda: draw(16))

    @classmethod
    async def lead(
        cls,
        store: Store,
        clock: Clock,
        ways: Ways,
        holder: str,
        draw: Callable[[int], str],
        kept: Retention = Retention(),
    ) -> Controller:
        """Take the lead and read everything. `ways` says how agents are reached; `draw` returns that many random bytes as
        hexadecimal digits."""
        leadership, revision = await take_leadership(store, clock, holder)
        feed = Feed(store)
        await feed.start()
        return cls(store, feed, Ledger(store, clock, leadership, revision), clock, ways, draw, kept)

    async def run(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Work, with `serve` beside it (the doors that stand on this)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.feed.followed(), name="feed")
                group.create_task(self.fleet.run(), name="fleet")
                group.create_task(self.hearing.run(), name="hearing")
                group.create_task(self.engine.run(), name="engine")
                group.create_task(self.healer.run(), name="healer")
                group.create_task(self._repair_networks(), name="networks")
                group.create_task(self.janitor.run(), name="janitor")
                group.create_task(self.purger.run(), name="purger")
                group.create_task(_forever(serve), name="doors")
        finally:
            await self.feed.close()

    async def _repair_networks(self) -> None:
        while True:
            await self.healer.repair_networks(await self.fleet.broken_networks.get())


async def _forever(serve: Callable[[], Awaitable[None]]) -> None:
    await serve()
