"""A machine's part of etcd: started from its files, grown and shrunk a member at a time, and closed to all but the cluster's own."""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from covey.agent.place import Place, ensure_certificates, seat_member, unseat_member
from covey.base.certificates import ensure_identity
from covey.base.clock import SystemClock
from covey.base.errors import CoveyError, Unavailable
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_authority, ensure_client_certificate
from covey.main.etcd import keep_etcd
from covey.model.sharing import CLIENTS, MEMBERS, Peer, Seat, beside
from covey.store.etcd import EtcdStore
from covey.store.protocol import Put
from tests.kit.eventually import eventually

pytestmark = pytest.mark.real
CLOCK = SystemClock()
WITHIN_S = 60.0
_numbers = itertools.count(1)


@dataclass
class Machine:
    """One with a seat: its files, and what keeps its member running."""

    place: Place
    agent: str
    node: str
    keeper: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"https://{beside(self.agent, MEMBERS)}"

    @property
    def client(self) -> str:
        return beside(self.agent, CLIENTS)

    @property
    def files(self) -> CertificateFiles:
        directory = self.place.directory
        return CertificateFiles(directory / "client.pem", directory / "client.key", directory / "ca.pem")


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machines: list[Machine] = []

    def machine(self) -> Machine:
        number = next(_numbers)
        place = Place(self.directory / f"m{number}")
        agent = f"127.{number % 200 + 20}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}:7444"
        place.directory.mkdir(parents=True)
        if self.machines:
            for name in ("ca.pem", "ca.key"):
                (place.directory / name).write_bytes((self.machines[0].place.directory / name).read_bytes())
        ensure_certificates(place, agent, f"node-{number}", CLOCK)
        found = Machine(place, agent, f"node-{number}", asyncio.create_task(keep_etcd(place.environment)))
        self.machines.append(found)
        return found

    def begin(self) -> Machine:
        first = self.machine()
        seat_member(first.place, first.agent, Seat("first", f"first={first.url}", is_first=True))
        return first

    async def open(self, *machines: Machine, files: CertificateFiles | None = None) -> EtcdStore:
        """As soon as it answers."""
        opened: list[EtcdStore] = []

        async def answers() -> bool:
            try:
                addresses = [machine.client for machine in machines]
                opened.append(await EtcdStore.open(addresses, files or machines[0].files, CLOCK))
            except Unavailable:
                return False
            return True

        await eventually(answers, within=WITHIN_S)
        return opened[0]

    async def add(self, store: EtcdStore, *present: Machine) -> Machine:
        """One more member, until it has a vote."""
        machine = self.machine()
        found: list[Peer] = []
        await eventually(lambda: _added(store, machine.url, found), within=WITHIN_S)
        (peer,) = found
        cluster = ",".join(f"{each.seat}={each.url}" for each in await store.members.all())
        seat_member(machine.place, machine.agent, Seat(peer.seat, cluster))
        await eventually(lambda: _promoted(store, peer), within=WITHIN_S)
        store.be_with([each.client for each in (*present, machine)])
        return machine

    async def close(self) -> None:
        for machine in self.machines:
            machine.keeper.cancel()
        await asyncio.gather(*(machine.keeper for machine in self.machines), return_exceptions=True)


async def _added(store: EtcdStore, url: str, found: list[Peer]) -> bool:
    """etcd takes in another one only when it has heard all members for 5 s."""
    try:
        found.append(await store.members.add(url))
    except CoveyError:
        return False
    return True


async def _removed(store: EtcdStore, peer: Peer) -> bool:
    """etcd lets one go only while it has heard most of the others for 5 s; and an answer may be lost."""
    try:
        if peer.id in {each.id for each in await store.members.all()}:
            await store.members.remove(peer)
    except CoveyError:
        return False
    return True


async def _promoted(store: EtcdStore, peer: Peer) -> bool:
    try:
        await store.members.promote(peer)
    except CoveyError:
        return False
    return True


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    try:
        yield site
    finally:
        await site.close()


async def test_members_come_and_go_one_at_a_time_and_records_stay(site: Site) -> None:
    first = site.begin()
    store = await site.open(first)
    try:
        await store.txn([], [Put("state/a", b"1")])
        second = await site.add(store, first)
        third = await site.add(store, first, second)
        assert [peer.votes and bool(peer.name) for peer in await store.members.all()] == [True] * 3
        unseat_member(third.place)  # it is switched off: two of three go on

        async def is_missed() -> bool:
            return await store.members.silent() == (third.client,)

        await eventually(is_missed, within=WITHIN_S)
        await store.txn([], [Put("state/b", b"2")])
        (gone,) = [peer for peer in await store.members.all() if peer.url == third.url]
        await eventually(lambda: _removed(store, gone), within=WITHIN_S)
        store.be_with([first.client, second.client])
        assert await store.members.silent() == ()
        other = await site.open(second)
        found = await other.list("state/")
        await other.close()
        assert [entry.key for entry in found.entries] == ["state/a", "state/b"]
    finally:
        await store.close()


async def test_a_member_that_never_comes_takes_nothing_from_the_others(site: Site) -> None:
    first = site.begin()
    store = await site.open(first)
    try:
        await store.members.add("https://127.0.0.1:1")
        await store.txn([], [Put("state/a", b"1")])
        assert sorted((peer.votes, bool(peer.name)) for peer in await store.members.all()) == [(False, False), (True, True)]
    finally:
        await store.close()


async def test_only_controllers_of_this_cluster_get_in(site: Site, tmp_path: Path) -> None:
    first = site.begin()
    store = await site.open(first)
    await store.close()
    agents = tmp_path / "agents"
    identity = ensure_identity(agents, _an_authority(tmp_path / "cluster"), "11111111-1111-4111-8111-111111111111")
    other = _an_authority(tmp_path / "other")
    strange = ensure_client_certificate(other, "node-1")
    for files in (identity, strange):
        shown = CertificateFiles(files.certificate, files.key, first.files.ca)  # it does believe the server
        with pytest.raises(Unavailable):
            await EtcdStore.open([first.client], shown, CLOCK)
    assert await _says_without_certificate(first) == b""


async def _says_without_certificate(machine: Machine) -> bytes:
    """What a client hears that shows none."""
    context = ssl.create_default_context(cafile=str(machine.files.ca))
    context.check_hostname = False
    host, _, port = machine.client.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(b"GET /version HTTP/1.1\r\nhost: etcd\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.read(1000)
    except OSError:
        return b""


def _an_authority(directory: Path) -> Path:
    directory.mkdir()
    ensure_authority(directory, datetime.now(UTC))
    return directory
