"""etcd as the store: when history was forgotten, when it is full, and who may speak to whom."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import NoSpace, NotFound, Unavailable
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate
from covey.model import record as records
from covey.store.etcd import EtcdStore
from covey.store.feed import Feed
from covey.store.protocol import Compacted, Delete, Put
from tests.kit.builders import a_node
from tests.kit.etcd import SILENCE_S, WELL_WITHIN_S, EtcdCluster, an_etcd, took_s
from tests.kit.eventually import eventually
from tests.kit.stores import PATIENCE_S, batches, put
from tests.kit.wire import a_wire

real = pytest.mark.real
SMALL_QUOTA = 8 * 2**20


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "one", 1) as cluster:
        yield cluster


@pytest.fixture
def small(tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members that are full soon."""
    with an_etcd(tmp_path / "small", 3, "--quota-backend-bytes", str(SMALL_QUOTA)) as cluster:
        yield cluster


def test_who_does_not_use_etcd_does_not_load_grpc() -> None:
    program = "import sys; import covey.main.controller; sys.exit('grpc' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", program), check=False, timeout=60).returncode == 0


# history and room


@real
async def test_a_view_is_built_anew_when_history_was_forgotten_while_it_was_cut_off(one: EtcdCluster) -> None:
    async with a_wire(one.members[0].host, 2379) as wire:
        writer = await one.open()
        await writer.txn([], [_node("n1"), _node("n2")])
        reader = await EtcdStore.open((wire.address,), one.files, SystemClock())
        feed = Feed(reader)
        await feed.start()
        await eventually(lambda: len(feed.view.collections["node"]) == 2)
        wire.cut()
        for _ in range(5):
            await writer.txn([], [_node("n3"), Delete(_node("n1").key)])
        await writer.make_room()
        with pytest.raises(Compacted):
            await batches(writer.watch("", feed.view.revision + 1), 1)
        await wire.mend()
        await eventually(
            lambda: {node.name for _, node in feed.view.collections["node"].values()} == {"n2", "n3"}, within=WELL_WITHIN_S
        )
        revision = await writer.txn([], [_node("n4")])
        async with asyncio.timeout(PATIENCE_S):
            assert len((await feed.reached(revision)).collections["node"]) == 3
        await feed.close()
        await reader.close()
        await writer.close()


def _node(name: str) -> Put:
    node = a_node(name)
    return Put(records.key_of(node), records.to_bytes(node))


@real
async def test_a_full_store_still_deletes_and_is_well_again_when_room_was_made(small: EtcdCluster) -> None:
    store = await small.open()
    await put(store, "small", b"1")
    with pytest.raises(NoSpace) as caught:
        for _ in range(100):
            await put(store, "large", bytes(500_000))
    assert "compact" in caught.value.hint
    entry = await store.get("small")
    assert entry is not None
    with pytest.raises(NoSpace):
        await put(store, "small", b"2")
    assert await store.get("small") == entry
    await store.txn([], [Delete("large")])
    assert await store.make_room() < SMALL_QUOTA // 2
    assert await put(store, "small", b"3") > entry.revision
    for _ in range(4):
        await put(store, "large", bytes(500_000))
    await store.close()


@real
async def test_room_is_made_on_the_members_that_can_and_the_other_is_named(small: EtcdCluster) -> None:
    leader = await small.leader()
    gone = next(member for member in small.members if member is not leader)
    store = await small.open(leader, *(member for member in small.members if member is not leader))
    first = await put(store, "a")
    await put(store, "a")
    gone.kill()
    with pytest.raises(Unavailable) as caught:
        await store.make_room()
    assert caught.value.object == gone.client
    with pytest.raises(Compacted):
        await batches(store.watch("", first), 1)
    await store.close()


# who may speak to whom


@real
async def test_a_stranger_is_refused_by_etcd_and_a_strange_etcd_by_us(one: EtcdCluster, tmp_path: Path) -> None:
    other = ensure_server_certificate(tmp_path / "other", ("127.0.0.1",))
    stranger = CertificateFiles(other.certificate, other.key, one.files.ca)
    deceived = CertificateFiles(one.files.certificate, one.files.key, other.ca)

    async def come_as(files: CertificateFiles) -> EtcdStore:
        return await EtcdStore.open(one.addresses, files, SystemClock())

    took = await asyncio.gather(took_s(lambda: come_as(stranger)), took_s(lambda: come_as(deceived)))
    assert max(took) < SILENCE_S
    await (await come_as(one.files)).close()
    with pytest.raises(NotFound) as caught:
        await come_as(CertificateFiles(tmp_path / "none.pem", one.files.key, one.files.ca))
    assert caught.value.object == str(tmp_path / "none.pem")


@real
async def test_who_shows_no_certificate_is_not_let_in(one: EtcdCluster) -> None:
    context = ssl.create_default_context(cafile=str(one.files.ca))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _ask_version(one, context)
    context.load_cert_chain(one.files.certificate, one.files.key)
    assert b"etcdserver" in await _ask_version(one, context)


async def _ask_version(cluster: EtcdCluster, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(cluster.members[0].host, 2379, ssl=context)
    try:
        writer.write(b"GET /version HTTP/1.0\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()
