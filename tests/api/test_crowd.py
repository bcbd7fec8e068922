"""A crowd at the doors."""

from __future__ import annotations

import asyncio
from typing import Any

from covey.api import door
from covey.api.door import MOST_AT_ONCE, MOST_OF_ONE, Door
from covey.model.token import Token
from covey.service.access import digest_of
from tests.api.flock import ADMIN, VIEWER, AsPeer, Flock, a_client


class Hall:
    """What is behind the door: who comes over the network stays until `leave` is set."""

    def __init__(self, expected: int) -> None:
        self.full = asyncio.Event()
        self.leave = asyncio.Event()
        self._expected = expected
        self._present = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._present += 1
        if self._present == self._expected:
            self.full.set()
        if door.PEER not in scope.get("state", {}) and scope["path"] != "/v1/status":
            await self.leave.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_the_holder_of_one_token_cannot_keep_the_others_out(flock: Flock) -> None:
    hall = Hall(MOST_OF_ONE)
    guarded = Door(hall, flock.inside)
    async with a_client(guarded, VIEWER) as viewer, a_client(guarded, ADMIN) as admin:
        streams = [asyncio.create_task(viewer.get("/v1/events/stream")) for _ in range(MOST_OF_ONE)]
        await hall.full.wait()
        refused = await viewer.get("/v1/status")
        assert refused.status_code == 503
        assert f"{MOST_OF_ONE} of its requests" in refused.text
        assert (await admin.get("/v1/status")).status_code == 204
        hall.leave.set()
        assert {answer.status_code for answer in await asyncio.gather(*streams)} == {204}
        assert (await viewer.get("/v1/status")).status_code == 204


async def test_whoever_comes_over_the_network_cannot_keep_root_out(flock: Flock) -> None:
    hall = Hall(MOST_AT_ONCE)
    guarded = Door(hall, flock.inside)
    secrets = [f"{number:064x}" for number in range(MOST_AT_ONCE // MOST_OF_ONE)]
    await flock.put(*(Token(f"many{n}", "viewer", digest_of(secret), 0.0) for n, secret in enumerate(secrets)))
    async with a_client(guarded, ADMIN) as admin, a_client(AsPeer(guarded)) as root:
        clients = [a_client(guarded, secret) for secret in secrets]
        streams = [asyncio.create_task(client.get("/v1/events/stream")) for client in clients for _ in range(MOST_OF_ONE)]
        await hall.full.wait()
        assert (await admin.get("/v1/status")).status_code == 503
        assert (await root.get("/v1/status")).status_code == 204
        hall.leave.set()
        assert {answer.status_code for answer in await asyncio.gather(*streams)} == {204}
        for client in clients:
            await client.aclose()
