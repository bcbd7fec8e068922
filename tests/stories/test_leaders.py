"""Three controllers on one etcd: any of them answers, one leads, and when it is gone another one does. Real processes, pretended hosts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from covey.base.clock import SystemClock
from covey.controller.lead import KEY
from covey.model import record as records
from covey.model.job import Leadership
from tests.kit.covey_up import CoveyUp
from tests.kit.etcd import EtcdCluster, an_etcd
from tests.kit.eventually import eventually
from tests.kit.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
WITHIN_S = 60.0  # a busy machine is no finding
ASKED_S = 15.0
CLOCK = SystemClock()


@dataclass
class Site:
    """Three machines, each with a member of etcd beside it."""

    etcd: EtcdCluster
    machines: list[CoveyUp]

    def share_store(self, covey: CoveyUp) -> None:
        """Say to a machine where the store is; its own member is asked first."""
        own = self.machines.index(covey)
        addresses = (*self.etcd.addresses[own:], *self.etcd.addresses[:own])
        said = {
            "endpoints": addresses,
            **{part: str(getattr(self.etcd.files, part)) for part in ("certificate", "key", "ca")},
            "controllers": f"127.0.0.1:{free_port()}",
        }
        path = covey.state / "store" / "etcd.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))

    async def leader(self) -> tuple[CoveyUp, int]:
        """Whom the record names, and its epoch."""
        store = await self.etcd.open()
        try:
            entry = await store.get(KEY)
        finally:
            await store.close()
        leadership = records.from_bytes(KEY, entry.value) if entry else None
        assert isinstance(leadership, Leadership)
        found = [each for each in self.machines if (each.state / "agent/node-id").read_text().strip() == leadership.holder]
        return found[0], leadership.epoch

    async def followers(self) -> list[CoveyUp]:
        leader, _ = await self.leader()
        return [each for each in self.machines if each is not leader]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with an_etcd(tmp_path_factory.mktemp("etcd") / "three", 3) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(etcd: EtcdCluster) -> AsyncIterator[Site]:
    machines = [CoveyUp("fake", "--listen", f"127.0.0.1:{free_port()}"), CoveyUp("fake"), CoveyUp("fake")]
    site = Site(etcd, machines)
    try:
        first, *others = machines
        site.share_store(first)
        await first.start()
        await first.initialise()
        for number, covey in enumerate(others, 2):
            await covey.start()
            line = (await first.do("node invite --quiet")).strip()
            await covey.do(f"node join --yes --name n{number} --address 127.0.0.1:{free_port()} {line}")
            await covey.stop()
            site.share_store(covey)
            await covey.start()
        await eventually(lambda: all_are_reached(first), within=WITHIN_S)
        yield site
    finally:
        for covey in machines:
            await covey.close()


@contextlib.asynccontextmanager
async def door_of(covey: CoveyUp) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=str(covey.state / "covey.sock"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://covey", timeout=ASKED_S) as client:
        yield client


async def wrote(covey: CoveyUp, notes: str) -> bool:
    """Whether a change was taken in there."""
    try:
        async with door_of(covey) as client:
            return (await client.patch("/v1/cluster", json={"notes": notes})).status_code == 202
    except httpx2.HTTPError:
        return False


async def writes_again(covey: CoveyUp) -> None:
    async def is_taken() -> bool:
        return await wrote(covey, f"at {time.monotonic()}")

    await eventually(is_taken, within=WITHIN_S)


class Reader:
    """Reads at one door all the time; the longest that it had no answer."""

    def __init__(self, covey: CoveyUp) -> None:
        self.longest_s = 0.0
        self.answers = 0
        self._task = asyncio.create_task(self._read(covey))

    async def _read(self, covey: CoveyUp) -> None:
        async with door_of(covey) as client:
            while True:
                began = CLOCK.monotonic()
                answer = await client.get("/v1/nodes")
                assert answer.status_code == 200
                self.answers += 1
                self.longest_s = max(self.longest_s, CLOCK.monotonic() - began)
                await asyncio.sleep(0.02)

    async def over(self) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def all_are_reached(covey: CoveyUp) -> bool:
    answer = await covey.ask("node list --columns answers --no-header")
    return answer.status == 0 and answer.out.split() == ["yes"] * 3


async def test_every_controller_answers_reads_and_changes(site: Site) -> None:
    for number, covey in enumerate(site.machines):
        await covey.do(f"cluster modify --notes from-{number}")
        for other in site.machines:

            async def is_read(other: CoveyUp = other, number: int = number) -> bool:
                return bool((await other.json("cluster info"))["notes"] == f"from-{number}")

            await eventually(is_read, within=WITHIN_S)
        assert [node["name"] for node in await covey.json("node list")] == ["n1", "n2", "n3"]


async def test_when_the_leaders_machine_is_gone_another_one_leads(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    leader, epoch = await site.leader()
    follower, _ = await site.followers()
    reader = Reader(follower)
    began = CLOCK.monotonic()
    await leader.kill_host()
    await writes_again(follower)
    took_s = CLOCK.monotonic() - began
    await reader.over()
    successor, after = await site.leader()
    assert successor is not leader and after > epoch
    with capsys.disabled():
        print(
            f"\nleader killed -> a change is taken in: {took_s:.1f} s; reads meanwhile: {reader.answers}, slowest {reader.longest_s:.2f} s"
        )
    await leader.start()
    await leader.do("cluster modify --notes back")


async def test_when_the_leaders_machine_and_its_etcd_member_are_gone_another_one_leads(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    leader, epoch = await site.leader()
    member = site.etcd.members[site.machines.index(leader)]
    follower, _ = await site.followers()
    began = CLOCK.monotonic()
    await leader.kill_host()
    member.kill()
    await writes_again(follower)
    took_s = CLOCK.monotonic() - began
    assert (await site.leader())[1] > epoch
    with capsys.disabled():
        print(f"\nleader and its etcd member killed -> a change is taken in: {took_s:.1f} s")
    member.start()
    await site.etcd.until_well()
    await leader.start()


async def test_a_leader_that_stood_still_follows_when_it_goes_on(site: Site) -> None:
    leader, epoch = await site.leader()
    follower, _ = await site.followers()
    asleep = list(leader.daemons.values())
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        await writes_again(follower)
        successor, after = await site.leader()
        assert successor is not leader and after > epoch
    finally:
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
    await writes_again(leader)  # by the one that leads now
    assert (await site.leader())[1] == after
    assert await successor.findings() == []


async def test_a_leader_that_is_stopped_is_followed_at_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    leader, _ = await site.leader()
    follower, _ = await site.followers()
    stopping = asyncio.create_task(leader.stop())
    began = CLOCK.monotonic()

    async def has_changed() -> bool:
        return (await site.leader())[0] is not leader

    await eventually(has_changed, within=WITHIN_S)
    await writes_again(follower)
    took_s = CLOCK.monotonic() - began
    await stopping
    with capsys.disabled():
        print(f"\nleader stopped -> a change is taken in: {took_s:.1f} s")
    await leader.start()


async def test_without_a_majority_reads_go_on_and_say_so(site: Site) -> None:
    first, second, _ = site.etcd.members
    follower = site.machines[2]
    first.pause()
    second.pause()
    try:

        async def is_marked() -> bool:
            async with door_of(follower) as client:
                return "covey-stale-as-of" in (await client.get("/v1/nodes")).headers

        await eventually(is_marked, within=WITHIN_S)
        assert "may be old" in (await follower.ask("status")).out
        refused = await follower.ask("cluster modify --notes none")
        assert refused.status != 0 and "nobody leads" in refused.err
    finally:
        first.resume()
        second.resume()
    await site.etcd.until_well()
    await writes_again(follower)
