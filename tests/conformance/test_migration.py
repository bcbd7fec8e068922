"""What every hypervisor promises of a guest that moves to another machine while it runs: one copy runs, and which, is certain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from covey.base.errors import Refused, StepFailed
from covey.host.migration.protocol import Moved, Offer, Wish
from covey.host.shelf import MemoryShelf
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk
from tests.kit.eventually import eventually
from tests.kit.hypervisors import Bench, FakeBench, LibvirtBench
from tests.kit.passages import Cut, DirectPassage, never

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Pair:
    """A guest that runs on one machine, and is defined on another, on an empty disk."""

    here: Bench
    there: Bench
    domain: Domain
    target: Domain
    attachments: dict[str, Attachment]

    async def passage(self, is_cut: Cut = never) -> DirectPassage:
        description, processor = await self.here.hypervisor.describe(self.domain.instance)
        offer = Offer(self.target, 2, description, processor)
        admitted = await self.there.hypervisor.admit(offer, self.attachments)
        return DirectPassage(self.there.hypervisor, self.domain.instance, 2, admitted, is_cut)

    async def migrate(self, passage: DirectPassage, bandwidth: int = 0) -> Moved:
        wish = Wish((0,), bandwidth=bandwidth)
        return await self.here.hypervisor.migrate(self.domain.instance, passage, wish, lambda text, done, total: None)

    async def state(self, bench: Bench) -> str:
        found = await bench.hypervisor.domain(self.domain.instance)
        return found.state if found else "missing"

    async def is_still(self) -> bool:
        return await self.state(self.here) == "paused"


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.real)])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        here, there = await a_bench(request.param, stack), await a_bench(request.param, stack)
        domain, attachments = here.guest()
        volume, attachment = there.volume()
        disk = domain.disks[0]
        target = replace(domain, disks=(DomainDisk(0, volume, disk.identity),))
        await here.hypervisor.ensure_defined(domain, attachments, "1")
        await here.hypervisor.ensure_running(domain.instance, 1)
        await here.ready(domain)
        await there.hypervisor.ensure_defined(target, {volume.id: attachment}, "2")
        yield Pair(here, there, domain, target, {volume.id: attachment})


async def a_bench(kind: str, stack: AsyncExitStack) -> Bench:
    if kind == "fake":
        return FakeBench(MemoryShelf())
    bench = LibvirtBench()
    await bench.open()
    stack.push_async_callback(bench.close)
    return bench


async def test_it_runs_there_as_another_start_and_no_more_here(pair: Pair) -> None:
    before = await pair.here.hypervisor.domain(pair.domain.instance)
    await pair.migrate(await pair.passage())
    here, there = [await bench.hypervisor.domain(pair.domain.instance) for bench in (pair.here, pair.there)]
    assert before and here and there
    assert (here.state, here.generation) == ("stopped", 1)
    assert (there.state, there.generation, there.disks) == ("running", 2, (pair.target.disks[0].volume.id,))
    assert there.live == before.live
    assert await pair.there.hypervisor.drifts() == {}, "it is as Covey would define it"


async def test_it_comes_back_the_same_way(pair: Pair) -> None:
    await pair.migrate(await pair.passage())
    back = replace(pair, here=pair.there, there=pair.here, domain=pair.target, target=pair.domain)
    back = replace(back, attachments={disk.volume.id: pair.here.attachment(disk.volume) for disk in pair.domain.disks})
    description, processor = await back.here.hypervisor.describe(back.domain.instance)
    admitted = await back.there.hypervisor.admit(Offer(back.target, 3, description, processor), back.attachments)
    await back.migrate(DirectPassage(back.there.hypervisor, back.domain.instance, 3, admitted))
    assert [await back.state(bench) for bench in (back.here, back.there)] == ["stopped", "running"]


async def test_a_cut_before_it_was_handed_over_leaves_it_here(pair: Pair) -> None:
    async def as_it_goes(direction: str) -> bool:
        return direction == "there" and await pair.is_still()

    passage = await pair.passage(as_it_goes)
    with pytest.raises(StepFailed):
        await pair.migrate(passage)
    assert passage.asked, "it stood still, and nobody could know"
    await eventually(lambda: runs(pair.here, pair.domain))
    assert await pair.state(pair.there) == "stopped"
    assert not await passage.has_arrived()


async def test_a_cut_after_it_was_handed_over_ends_it_here(pair: Pair) -> None:
    """The other machine lets it run, and its word of that is lost: libvirt alone would let both run."""

    async def as_it_answers(direction: str) -> bool:
        return direction == "back" and await pair.state(pair.there) == "running"

    passage = await pair.passage(as_it_answers)
    try:
        await pair.migrate(passage)
    except StepFailed:
        assert await passage.has_arrived()
    assert passage.asked
    assert [await pair.state(bench) for bench in (pair.here, pair.there)] == ["stopped", "running"]


async def test_one_that_is_given_up_runs_on_here(pair: Pair) -> None:
    passage = await pair.passage()
    moving = asyncio.create_task(pair.migrate(passage, bandwidth=2**20))
    await asyncio.sleep(0.3)
    moving.cancel()
    await asyncio.wait({moving})
    arrived = await passage.has_arrived()
    await eventually(lambda: runs(pair.there if arrived else pair.here, pair.domain))
    assert await pair.state(pair.here if arrived else pair.there) == "stopped"


async def test_one_that_does_not_run_is_not_described(pair: Pair) -> None:
    await pair.here.pause(pair.domain)
    with pytest.raises(Refused, match="does not run"):
        await pair.here.hypervisor.describe(pair.domain.instance)


@pytest.mark.real
async def test_no_tick_of_it_is_lost_and_its_disk_has_come_along() -> None:
    async with AsyncExitStack() as stack:
        here, there = LibvirtBench(), LibvirtBench()
        for bench in (here, there):
            await bench.open()
            stack.push_async_callback(bench.close)
        domain, attachments = here.guest()
        volume, attachment = there.volume()
        target = replace(domain, disks=(DomainDisk(0, volume, domain.disks[0].identity),))
        await here.hypervisor.ensure_defined(domain, attachments, "1")
        await here.hypervisor.ensure_running(domain.instance, 1)
        await here.ready(domain)
        await there.hypervisor.ensure_defined(target, {volume.id: attachment}, "2")
        pair = Pair(here, there, domain, target, {volume.id: attachment})
        await pair.migrate(await pair.passage())
        await eventually(lambda: len(ticks(there, domain)) > 3)
        counted = [*ticks(here, domain), *ticks(there, domain)]
        assert counted == list(range(counted[0], counted[-1] + 1)), "each tick once"
        assert b"E" not in there.printed(domain), "it writes to its disk"


@pytest.mark.real
async def test_a_destination_that_dies_half_way_leaves_it_here() -> None:
    async with AsyncExitStack() as stack:
        here, there = LibvirtBench(), LibvirtBench()
        for bench in (here, there):
            await bench.open()
            stack.push_async_callback(bench.close)
        domain, attachments = here.guest()
        volume, attachment = there.volume()
        target = replace(domain, disks=(DomainDisk(0, volume, domain.disks[0].identity),))
        await here.hypervisor.ensure_defined(domain, attachments, "1")
        await here.hypervisor.ensure_running(domain.instance, 1)
        await here.ready(domain)
        await there.hypervisor.ensure_defined(target, {volume.id: attachment}, "2")
        pair = Pair(here, there, domain, target, {volume.id: attachment})
        moving = asyncio.create_task(pair.migrate(await pair.passage(), bandwidth=2**20))
        await eventually(lambda: qemu_of(there, domain))
        os.kill(qemu_of(there, domain), signal.SIGKILL)
        with pytest.raises(StepFailed):
            await moving
        await eventually(lambda: runs(here, domain))


async def runs(bench: Bench, domain: Domain) -> bool:
    found = await bench.hypervisor.domain(domain.instance)
    return bool(found and found.state == "running")


def ticks(bench: LibvirtBench, domain: Domain) -> list[int]:
    """The whole lines of its counter."""
    lines = bench.printed(domain).split(b"\n")[:-1]
    return [int(line[1:], 16) for line in lines if line.startswith(b"T") and len(line) == 9]


def qemu_of(bench: LibvirtBench, domain: Domain) -> int:
    path = Path(bench.directory, "libvirt/run/qemu", f"{domain.instance}.pid")
    return int(path.read_text()) if path.exists() else 0
