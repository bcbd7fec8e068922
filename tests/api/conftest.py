from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.api.flock import AsPeer, Flock, a_client, a_flock, initialised


@pytest.fixture
async def flock(tmp_path: Path) -> AsyncIterator[Flock]:
    """A cluster of one node, with a pool and three tokens."""
    async with a_flock(tmp_path) as flock:
        async with a_client(AsPeer(flock.app)) as client:
            await initialised(flock, client)
        yield flock


@pytest.fixture
async def root(flock: Flock) -> AsyncIterator[httpx2.AsyncClient]:
    """A client as root has over the unix socket."""
    async with a_client(AsPeer(flock.app)) as client:
        yield client
