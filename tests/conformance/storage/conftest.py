"""Every template in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kit.storages import (
    FILES,
    Bench,
    FileBench,
    make_bench,
)


@pytest.fixture(params=[*FILES, "fake"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = make_bench(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=FILES)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileBench]:
    made = FileBench(tmp_path, request.param.removeprefix("file-"))
    yield made
    made.close()
