"""Following the store."""

from __future__ import annotations

import asyncio

import pytest

from covey.base.errors import Unavailable
from covey.store.feed import Feed
from covey.store.memory import MemoryData, MemoryStore
from tests.kit.virtual import in_virtual_time, virtual_clock


@in_virtual_time
async def test_who_waits_for_a_revision_is_told_when_nobody_follows_any_more() -> None:
    feed = Feed(MemoryStore(MemoryData(), virtual_clock()))
    await feed.start()
    waiting = asyncio.create_task(feed.reached(99))
    await asyncio.sleep(0.1)
    await feed.close()
    for still_asked in (waiting, feed.reached(99)):
        with pytest.raises(Unavailable, match="no longer follows"):
            await asyncio.wait_for(still_asked, 5.0)
