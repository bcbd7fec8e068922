"""The records go along with the machines: into etcd with the second one, to each that joins, and home when one is left. Real processes on
pretended hosts, which speak over TLS on the loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from covey.base.clock import SystemClock
from tests.kit.covey_up import CoveyUp
from tests.kit.eventually import eventually
from tests.kit.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
CLOCK = SystemClock()
WITHIN_S = 90.0  # a busy machine is no finding


class Site:
    def __init__(self) -> None:
        self.machines: list[CoveyUp] = []

    async def begin(self) -> CoveyUp:
        first = CoveyUp("fake", "--listen", f"127.0.0.1:{free_port()}", shares=True)
        self.machines.append(first)
        await first.start()
        await first.initialise()
        return first

    async def join(self) -> CoveyUp:
        """One more, which has joined, and whose own controller answers."""
        covey = CoveyUp("fake", shares=True)
        self.machines.append(covey)
        await covey.start()
        line = (await self.machines[0].do("node invite --quiet")).strip()
        await covey.do(f"node join --yes --name n{len(self.machines)} --address 127.0.0.1:{free_port()} {line}")
        await eventually(lambda: sees(covey, len(self.machines)), within=WITHIN_S)
        return covey


async def sees(covey: CoveyUp, count: int) -> bool:
    """Whether so many nodes answer, by what this machine's own controller says."""
    answer = await covey.ask("node list --columns answers --no-header")
    return answer.status == 0 and answer.out.split() == ["yes"] * count


async def has_members(covey: CoveyUp, count: int) -> bool:
    """Whether it knows of so many places where etcd takes clients."""
    path = covey.state / "store/etcd.json"
    return path.exists() and len(json.loads(path.read_text())["endpoints"]) == count


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    site = Site()
    try:
        yield site
    finally:
        for covey in site.machines:
            await covey.close()


class Asker:
    """Changes something all the time, at one door; the longest that a change took to be taken in, and whether one was refused."""

    def __init__(self, covey: CoveyUp) -> None:
        self.longest_s = 0.0
        self.taken = 0
        self.cut_off = 0
        self.refused: list[str] = []
        self._task = asyncio.create_task(self._ask(covey))

    async def _ask(self, covey: CoveyUp) -> None:
        while True:
            transport = httpx2.AsyncHTTPTransport(uds=str(covey.state / "covey.sock"))
            async with httpx2.AsyncClient(transport=transport, base_url="http://covey", timeout=30.0) as client:
                began = CLOCK.monotonic()
                try:
                    answer = await client.patch("/v1/cluster", json={"notes": f"at {began}"})
                except httpx2.HTTPError:
                    self.cut_off += 1  # it was under way for too long when the doors closed: its outcome is to be looked up
                    continue
                self.longest_s = max(self.longest_s, CLOCK.monotonic() - began)
                if answer.status_code == 202:
                    self.taken += 1
                else:
                    self.refused.append(answer.text)
            await asyncio.sleep(0.02)

    async def over(self) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_records_go_where_the_machines_are(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    first = await site.begin()
    asker = Asker(first)
    joining = asyncio.create_task(site.join())
    await eventually(lambda: (first.state / "store/etcd.json").exists(), within=WITHIN_S)
    so_far = asker.taken
    await eventually(lambda: asker.taken > so_far + 1, within=WITHIN_S)
    await asker.over()
    second = await joining
    await eventually(lambda: has_members(second, 2), within=WITHIN_S)
    with capsys.disabled():
        print(
            f"\nSQLite to etcd: {asker.taken} changes taken in, the slowest in {asker.longest_s:.2f} s; cut off: {asker.cut_off}"
        )
    assert asker.refused == []
    assert {job["state"] for job in await second.json("job list --limit 200")} == {"succeeded"}, "those under way were carried on"
    await second.do("cluster modify --notes from-the-second")
    assert (await first.json("cluster info"))["notes"] == "from-the-second"
    third = await site.join()
    await eventually(lambda: has_members(third, 3), within=WITHIN_S)
    await third.do("cluster modify --notes from-the-third")

    async def is_told() -> bool:
        """A follower looks every few seconds who has the records."""
        return "records    on n1, n2, n3" in (await second.ask("status")).out

    await eventually(is_told, within=WITHIN_S)
    assert await first.findings() == []


async def test_any_of_three_may_die_and_is_told_of(site: Site) -> None:
    first, second, third = site.machines
    await first.kill_host()

    async def is_taken() -> bool:
        return (await second.ask("cluster modify --notes without-the-first")).status == 0

    await eventually(is_taken, within=WITHIN_S)

    async def is_told_of() -> bool:
        return "the copy of the records on n1 does not answer" in (await third.ask("status")).out

    await eventually(is_told_of, within=WITHIN_S)
    line = (await second.do("node invite --quiet")).strip()
    assert line.startswith("127.0.0.1:"), "who leads now has the authority, too"
    await first.start()
    await eventually(lambda: sees(first, 3), within=WITHIN_S)
    assert (await first.json("cluster info"))["notes"] == "without-the-first"


async def test_members_go_with_their_machines_and_the_records_come_home(site: Site) -> None:
    first, second, third = site.machines
    await first.do("node remove n3 --yes")
    await eventually(lambda: has_members(first, 2), within=WITHIN_S)
    await eventually(lambda: not (third.state / "store/etcd").exists(), within=WITHIN_S)
    assert not (third.state / "tls/ca.key").exists(), "it signs for nobody any more"
    await third.do("node leave --yes")
    await eventually(lambda: has_no_cluster(third), within=WITHIN_S)
    await second.do("node remove n1 --yes")
    await killed_while_it_moves(second)
    await second.start()
    await eventually(lambda: not (second.state / "store/etcd.json").exists(), within=WITHIN_S)
    await eventually(lambda: sees(second, 1), within=WITHIN_S)
    await second.do("cluster modify --notes alone")
    assert not (second.state / "store/etcd").exists()
    await eventually(lambda: not (first.state / "store/etcd").exists(), within=WITHIN_S)
    await first.do("node leave --yes")
    await eventually(lambda: has_no_cluster(first), within=WITHIN_S)
    assert (await second.json("cluster info"))["notes"] == "alone"
    for covey in site.machines:
        told = [covey.log, *(covey.state / "events").iterdir()]
        assert not [path for path in told if "PRIVATE KEY" in path.read_text()], "keys are nowhere but in their files"


async def killed_while_it_moves(covey: CoveyUp) -> None:
    """Somewhere in the move of its records home, or right after it: all of it dies in one moment."""
    store = covey.state / "store"
    await eventually(lambda: (store / "moving.json").exists() or not (store / "etcd.json").exists(), within=WITHIN_S)
    await covey.kill_host()


async def has_no_cluster(covey: CoveyUp) -> bool:
    answer = await covey.ask("status --json")
    return bool(answer.out) and json.loads(answer.out)["cluster"] is None
