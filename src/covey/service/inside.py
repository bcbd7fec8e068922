"""All that the services stand on, in one bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from covey.base.clock import Clock
from covey.base.errors import Refused, Unavailable, require
from covey.controller.backups import Backups
from covey.controller.events import EventLog
from covey.engine.engine import Engine
from covey.model.view import ClusterView
from covey.service.joining import Authority
from covey.service.nodes import Nodes
from covey.service.standing import Standing
from covey.service.tally import Tally
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.protocol import Store
from covey.store.room import RoomKeeper

LONGEST_CATCH_UP_S = 5.0


class Copy(NamedTuple):
    """A copy of the records, of a store that several share: its node's name, and since when it does not answer (0: it does)."""

    node: str
    silent_since: float


def _never() -> bool:
    return False


def _none() -> tuple[Copy, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Inside:
    """`draw` returns that many random bytes as hexadecimal digits (secrets.token_hex). `reserve_used` says whether the store lives on
    its reserve of disk, `instance_metrics` whether `/metrics` tells of each instance. `closing` is set when the doors close, so that streams end."""

    feed: Feed
    history: History
    standing: Standing
    store: Store
    clock: Clock
    events: EventLog
    draw: Callable[[int], str]
    tally: Tally
    reserve_used: Callable[[], bool] = _never
    instance_metrics: bool = True
    authority: Authority | None = None  # None where no machine can come in over the network
    config: str = ""  # the settings file, "" for none
    copies: Callable[[], tuple[Copy, ...]] = _none  # nothing while the records are on one machine
    backup_every_s: float = 86400.0
    room: RoomKeeper | None = None  # of a store of several machines
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def view(self) -> ClusterView:
        return self.feed.view

    @property
    def engine(self) -> Engine:
        """The leader's. Raises Unavailable while this controller does not lead."""
        return self.standing.leading().engine

    @property
    def nodes(self) -> Nodes:
        """As the leader reaches them. Raises Unavailable while this controller does not lead."""
        return self.standing.leading().nodes

    @property
    def backups(self) -> Backups:
        """The leader's. Raises Unavailable while this controller does not lead, Refused where none are made."""
        return require(self.standing.leading().backups, Refused("this controller makes no backups", "cluster"))

    async def view_at(self, revision: int) -> ClusterView:
        """The view once it holds `revision`. Raises Unavailable when that does not come."""
        if self.feed.view.revision < revision:
            try:
                async with asyncio.timeout(LONGEST_CATCH_UP_S):
                    await self.feed.reached(revision)
            except TimeoutError as error:
                here = self.feed.view.revision
                raise Unavailable(
                    f"revision {revision} has not come; this is {here}", "store", "ask again without at_least"
                ) from error
        return self.feed.view
