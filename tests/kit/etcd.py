"""Real etcd, Debian's own, with mutual TLS: one member or three, each on a loopback address of its own, to be killed and paused."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.base.clock import SystemClock
from covey.base.errors import Unavailable
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate
from covey.store.etcd import EtcdStore
from covey.store.protocol import Delete, Store
from tests.kit.eventually import eventually
from tests.kit.stores import SetClock, put

STARTS_WITHIN_S = 60.0
WELL_WITHIN_S = 60.0  # a busy machine is no finding
SILENCE_S = 10.0  # what is promised is 5
ENDS_WITHIN_S = 20.0
ASKED_S = 1.0
METRICS_PORT = 2381  # without TLS
_numbers = itertools.count(1)


class Member:
    """One etcd server. Its records are in `data`."""

    def __init__(self, name: str, host: str, directory: Path) -> None:
        self.name = name
        self.host = host
        self.data = directory / name
        self.client, self.peer = f"{host}:2379", f"https://{host}:2380"
        self.argv: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.data.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """Power loss, as far as one process can have it."""
        if self.process:
            self.process.kill()
            self.process.wait(ENDS_WITHIN_S)
            self.process = None

    def pause(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def is_well(self) -> bool:
        return b'"true"' in self._read("/health")

    def leads(self) -> bool:
        return b"\netcd_server_is_leader 1\n" in self._read("/metrics")

    def _read(self, path: str) -> bytes:
        connection = http.client.HTTPConnection(self.host, METRICS_PORT, timeout=ASKED_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()


class EtcdCluster:
    """Members that know each other. No other test's have their addresses."""

    def __init__(self, directory: Path, size: int, *flags: str) -> None:
        number = next(_numbers)
        hosts = [f"127.{number % 80 * 3 + each + 1}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}" for each in range(size)]
        # members take a certificate only from an address that it names: on loopback, everybody comes from the first one
        self.files = ensure_server_certificate(directory / "tls", (*hosts, "127.0.0.1"))
        self.members = [Member(f"m{place}", host, directory) for place, host in enumerate(hosts)]
        cluster = ",".join(f"{member.name}={member.peer}" for member in self.members)
        for member in self.members:
            member.argv = [*_argv(member, self.files), "--initial-cluster", cluster, *flags]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(member.client for member in self.members)

    async def start(self) -> None:
        for member in self.members:
            member.start()
        await self.until_well()

    async def until_well(self) -> None:
        """Until every member serves."""

        async def all_are_well() -> bool:
            return all([await asyncio.to_thread(member.is_well) for member in self.members])

        await eventually(all_are_well, within=STARTS_WITHIN_S)

    async def leader(self) -> Member:
        """The member that leads, once one does."""
        found: list[Member] = []

        async def one_leads() -> bool:
            found[:] = [member for member in self.members if await asyncio.to_thread(member.leads)]
            return len(found) == 1

        await eventually(one_leads, within=STARTS_WITHIN_S)
        return found[0]

    async def open(self, *members: Member) -> EtcdStore:
        """A store that asks these members, in this order; without any, all of them."""
        addresses = tuple(member.client for member in members) or self.addresses
        return await EtcdStore.open(addresses, self.files, SystemClock())

    def stop(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def an_etcd(directory: Path, size: int, *flags: str) -> Iterator[EtcdCluster]:
    """A cluster that runs until the block ends; what it wrote goes with it."""
    directory.mkdir()
    cluster = EtcdCluster(directory, size, *flags)
    try:
        asyncio.run(cluster.start())
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory)


class EtcdEngine:
    """The engine on a cluster that others may have used before: their records are removed when it is first opened, their history
    stays."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self.clock = SetClock()
        self.cluster = cluster
        self._was_opened = False

    async def open(self, kept: int = 10_000) -> Store:
        store = await EtcdStore.open(self.cluster.addresses, self.cluster.files, self.clock, kept=kept)
        while not self._was_opened and (entries := (await store.list("", limit=100)).entries):
            await store.txn([], [Delete(entry.key) for entry in entries])
        self._was_opened = True
        return store


def _argv(member: Member, files: CertificateFiles) -> list[str]:
    """How Covey starts etcd, save that nothing of it is kept for long."""
    certificate, key, ca = str(files.certificate), str(files.key), str(files.ca)
    return [
        *("etcd", "--name", member.name, "--data-dir", str(member.data), "--pre-vote=true"),
        *("--listen-client-urls", f"https://{member.client}", "--advertise-client-urls", f"https://{member.client}"),
        *("--listen-peer-urls", member.peer, "--initial-advertise-peer-urls", member.peer),
        *("--listen-metrics-urls", f"http://{member.host}:{METRICS_PORT}", "--logger", "zap", "--log-level", "warn"),
        *("--client-cert-auth", "--cert-file", certificate, "--key-file", key, "--trusted-ca-file", ca),
        *("--peer-client-cert-auth", "--peer-cert-file", certificate, "--peer-key-file", key, "--peer-trusted-ca-file", ca),
    ]


async def put_in_the_end(store: Store, key: str, value: bytes = b"v") -> int:
    """Write, and write again while there is no answer."""
    revisions: list[int] = []

    async def written() -> bool:
        try:
            revisions.append(await put(store, key, value))
        except Unavailable:
            return False
        return True

    await eventually(written, within=WELL_WITHIN_S)
    return revisions[0]


async def took_s(call: Callable[[], Awaitable[Any]]) -> float:
    """Seconds until it raised Unavailable."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unavailable):
        await call()
    return loop.time() - began
