"""Every engine in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from covey.store.protocol import Store
from tests.kit.etcd import EtcdCluster, EtcdEngine, an_etcd
from tests.kit.stores import Engine, MemoryEngine, SqliteEngine

ONE_ETCD = pytest.param("etcd", marks=pytest.mark.real)
THREE_ETCDS = pytest.param("three_etcds", marks=pytest.mark.real)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "one", 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_etcds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "three", 3) as cluster:
        yield cluster


@pytest.fixture(params=["memory", "sqlite", ONE_ETCD, THREE_ETCDS])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Without records. Its history may hold what is no more."""
    if request.param == "memory":
        return MemoryEngine()
    if request.param == "sqlite":
        return SqliteEngine(tmp_path)
    return EtcdEngine(request.getfixturevalue(request.param))


@pytest.fixture(params=["memory", "sqlite", ONE_ETCD])
def new_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Never used before."""
    if request.param == "etcd":
        with an_etcd(tmp_path / "new", 1) as cluster:
            yield EtcdEngine(cluster)
    else:
        yield MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path)


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    opened = await engine.open()
    yield opened
    await opened.close()
