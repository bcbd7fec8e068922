"""What every hypervisor promises of a guest's disks that are frozen and merged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.base.errors import NotFound
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk
from covey.model.pool import Volume
from tests.conformance.test_hypervisors import bench, found, running
from tests.kit.hypervisors import Bench

__all__ = ["bench"]
Told = list[tuple[int, int]]


def attachments_of(bench: Bench, *volumes: Volume) -> dict[str, Attachment]:
    return {volume.id: bench.attachment(volume) for volume in volumes}


async def frozen(bench: Bench, domain: Domain, times: int = 1) -> list[Domain]:
    """The domain as it was after each freezing of its first disk."""
    domains = [domain]
    for _ in range(times):
        before = domains[-1].disks[0]
        volume = bench.overlay(before.volume)
        disk = DomainDisk(before.index, volume, before.identity)
        domains.append(replace(domains[-1], disks=(disk, *domains[-1].disks[1:])))
        await bench.hypervisor.ensure_overlaid(domains[-1], attachments_of(bench, volume))
    return domains


async def test_a_running_guest_goes_on_in_the_volume_above(bench: Bench) -> None:
    domain = await running(bench)
    pid = (await found(bench, domain)).pid
    _, second = await frozen(bench, domain)
    for _ in range(2):
        await bench.hypervisor.ensure_overlaid(second, attachments_of(bench, second.disks[0].volume))
    one = await found(bench, domain)
    assert (one.state, one.pid, one.disks) == ("running", pid, (second.disks[0].volume.id,))
    await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.hypervisor.ensure_running(domain.instance, 2)
    assert (await found(bench, domain)).disks == (second.disks[0].volume.id,)


async def test_a_stopped_guest_is_at_rest_and_has_the_volume_above_from_its_start(bench: Bench) -> None:
    domain = await running(bench)
    await bench.hypervisor.ensure_stopped(domain.instance)
    volume = bench.overlay(domain.disks[0].volume)
    second = replace(domain, disks=(DomainDisk(0, volume, domain.disks[0].identity),))
    assert await bench.hypervisor.ensure_overlaid(second, attachments_of(bench, volume))
    assert (await found(bench, domain)).disks == (volume.id,)
    await bench.hypervisor.ensure_running(domain.instance, 2)
    assert (await found(bench, domain)).disks == (volume.id,)


async def test_a_guest_that_is_not_defined_is_not_frozen(bench: Bench) -> None:
    domain, attachments = bench.guest()
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_overlaid(domain, attachments)


async def test_the_topmost_layer_goes_down_into_the_one_below(bench: Bench) -> None:
    first, second, third = await frozen(bench, await running(bench), 2)
    top, base = third.disks[0].volume, second.disks[0].volume
    told: Told = []
    for _ in range(2):
        assert await bench.hypervisor.ensure_merged(
            second, 0, top, base, attachments_of(bench, top, base), lambda done, total: told.append((done, total))
        )
    one = await found(bench, first)
    assert (one.state, one.disks) == ("running", (base.id,))
    assert told
    await bench.hypervisor.ensure_stopped(first.instance)
    await bench.hypervisor.ensure_running(first.instance, 2)
    assert (await found(bench, first)).disks == (base.id,)


async def test_a_layer_in_the_middle_goes_down_while_the_guest_writes_above(bench: Bench) -> None:
    first, second, third = await frozen(bench, await running(bench), 2)
    middle, bottom = second.disks[0].volume, first.disks[0].volume
    attachments = attachments_of(bench, middle, bottom, third.disks[0].volume)
    for _ in range(2):
        assert await bench.hypervisor.ensure_merged(third, 0, middle, bottom, attachments, lambda done, total: None)
    bench.forget(middle)
    one = await found(bench, first)
    assert (one.state, one.disks) == ("running", (third.disks[0].volume.id,))
    await bench.hypervisor.ensure_stopped(first.instance)
    await bench.hypervisor.ensure_running(first.instance, 2)
    assert (await found(bench, first)).state == "running"


async def test_nothing_is_merged_by_a_guest_that_does_not_run(bench: Bench) -> None:
    first, second = await frozen(bench, await running(bench))
    top, base = second.disks[0].volume, first.disks[0].volume
    await bench.hypervisor.ensure_stopped(first.instance)
    merged = await bench.hypervisor.ensure_merged(first, 0, top, base, attachments_of(bench, top, base), lambda done, total: None)
    assert not merged
    assert (await found(bench, first)).disks == (top.id,)


async def test_a_running_guest_takes_in_what_it_lies_on_which_may_then_go(bench: Bench) -> None:
    first, _, third = await frozen(bench, await running(bench), 2)
    top = third.disks[0].volume
    pid = (await found(bench, first)).pid
    told: Told = []
    for _ in range(2):
        assert await bench.hypervisor.ensure_flat(
            first.instance, 0, top, bench.attachment(top), lambda done, total: told.append((done, total))
        )
    assert told
    bench.forget(first.disks[0].volume)
    one = await found(bench, first)
    assert (one.state, one.pid, one.disks) == ("running", pid, (top.id,))
    await bench.hypervisor.ensure_stopped(first.instance)
    await bench.hypervisor.ensure_running(first.instance, 2)
    await bench.ready(third)
    assert (await found(bench, first)).disks == (top.id,)


async def test_nothing_is_taken_in_by_a_guest_that_does_not_run_or_has_another_disk(bench: Bench) -> None:
    first, second = await frozen(bench, await running(bench))
    top, base = second.disks[0].volume, first.disks[0].volume

    async def flattened(volume: Volume) -> bool:
        return await bench.hypervisor.ensure_flat(first.instance, 0, volume, bench.attachment(volume), lambda done, total: None)

    assert not await flattened(base)
    await bench.hypervisor.ensure_stopped(first.instance)
    assert not await flattened(top)
