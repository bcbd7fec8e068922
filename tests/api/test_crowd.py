"""A crowd at the doors."""

from __future__ import annotations

import asyncio
from typing import Any

from covey.api import door
from covey.api.door import MOST_AT_ONCE, Door
from tests.api.flock import VIEWER, AsPeer, Flock, a_client


async def test_whoever_comes_over_the_network_cannot_keep_root_out(flock: Flock) -> None:
    crowd = asyncio.Event()
    inside = asyncio.Event()
    present = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal present
        present += 1
        if present == MOST_AT_ONCE:
            inside.set()
        if door.PEER not in scope.get("state", {}):
            await crowd.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = Door(app, flock.inside)
    async with a_client(guarded, VIEWER) as viewer, a_client(AsPeer(guarded)) as root:
        streams = [asyncio.create_task(viewer.get("/v1/events/stream")) for _ in range(MOST_AT_ONCE)]
        await inside.wait()
        assert (await viewer.get("/v1/status")).status_code == 503
        assert (await root.get("/v1/status")).status_code == 204
        crowd.set()
        assert {answer.status_code for answer in await asyncio.gather(*streams)} == {204}
