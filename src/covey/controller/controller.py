"""The controller: it follows the records, and leads whenever it may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import structlog

from covey.base.clock import Clock
from covey.controller.backups import Backups, Vault
from covey.controller.fleet import Fleet, Ways
from covey.controller.healer import Healer
from covey.controller.hearing import Hearing, Tell
from covey.controller.janitor import Janitor, Retention
from covey.controller.lead import Held
from covey.controller.purger import Purger
from covey.engine.engine import Engine
from covey.engine.ledger import Deposed, Ledger
from covey.planner import plan
from covey.store.feed import Feed
from covey.store.protocol import Store

log = structlog.get_logger()


class Candidacy(Protocol):
    """How a controller comes to lead: see lead.Election and lead.Alone."""

    async def won(self) -> Held: ...


class Leading(Protocol):
    """What works while a right to lead lasts."""

    async def run(self, right: Held) -> None: ...


L = TypeVar("L", bound=Leading)


class Term:
    """Everything that leads, together, for as long as one right to lead lasts."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        ledger: Ledger,
        clock: Clock,
        ways: Ways,
        draw: Callable[[int], str],
        kept: Retention = Retention(),
        tell: Tell = lambda kind, object, text: None,
        vault: Vault | None = None,
    ) -> None:
        """`ways` says how agents are reached; `draw` returns that many random bytes as hexadecimal digits; `tell` makes an event. Without a
        `vault` nothing is backed up."""
        self.ledger = ledger
        self.hearing = Hearing(feed, ledger, clock, tell)
        self.fleet = Fleet(ways, ledger.epoch, feed, self.hearing, clock)
        self.engine = Engine(store, feed, ledger, self.fleet, clock, plan)
        self.janitor = Janitor(store, ledger, clock, kept)
        self.purger = Purger(feed, self.engine, clock, lambda: draw(16))
        self.backups = Backups(store, feed, ledger, clock, vault) if vault else None
        self.healer = Healer(feed, self.engine, ledger, self.fleet, clock, lambda: draw(16))

    async def run(self, right: Held) -> None:
        """Lead until the right is lost, or cancelled."""
        await lead(
            right,
            self.fleet.run(),
            self.hearing.run(),
            self.engine.run(),
            self.healer.run(),
            self._repair_networks(),
            self.janitor.run(),
            self.purger.run(),
            *([self.backups.run()] if self.backups else []),
        )

    async def _repair_networks(self) -> None:
        while True:
            await self.healer.repair_networks(await self.fleet.broken_networks.get())


async def lead(right: Held, *works: Awaitable[None]) -> None:
    """Work, all of it, until the right is lost or somebody else is found to lead. Raises what else ends one of the works."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in (right.held(), *works):
                group.create_task(_until_over(work))
    except* (Deposed, _Over):
        pass


class _Over(Exception):
    """The right to lead is lost."""


async def _until_over(work: Awaitable[None]) -> None:
    """None of what leads ends while it may lead: when one does, so does all."""
    await work
    raise _Over


class Controller(Generic[L]):
    """One controller's turns. `begun` and `ended` are told when it begins to lead and ceases to."""

    def __init__(
        self,
        feed: Feed,
        candidacy: Candidacy,
        term: Callable[[Held], L],
        begun: Callable[[L], None],
        ended: Callable[[], None],
        follow: Callable[[], Awaitable[None]],
    ) -> None:
        self._feed = feed
        self._candidacy = candidacy
        self._term = term
        self._begun = begun
        self._ended = ended
        self._follow = follow

    async def run(self) -> None:
        """Follow, lead, and follow again, until cancelled."""
        while True:
            right = await self._followed_until_won()
            for node in list(self._feed.view.telemetry):
                self._feed.tell(node, None)  # a former leader told it: who answers this one says so himself
            try:
                term = self._term(right)
                self._begun(term)
                await term.run(right)
            finally:
                self._ended()
                await right.resign()

    async def _followed_until_won(self) -> Held:
        following = asyncio.ensure_future(self._follow())
        try:
            return await self._candidacy.won()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
