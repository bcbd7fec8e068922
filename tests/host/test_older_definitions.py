"""A guest that a release before this one defined goes on as it is, and is as one of today from its next start on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from xml.etree import ElementTree

import pytest
from tests.kit.hypervisors import LibvirtBench

from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk

pytestmark = pytest.mark.real


@pytest.fixture
async def bench() -> AsyncIterator[LibvirtBench]:
    bench = LibvirtBench()
    await bench.open()
    try:
        yield bench
    finally:
        await bench.close()


async def defined_before_there_were_io_threads(bench: LibvirtBench) -> tuple[Domain, dict[str, Attachment]]:
    domain, attachments = bench.guest()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    text = bench.virsh("dumpxml", "--inactive", domain.instance)
    for traces in (r"<iothreads>.*</iothreads>", r" iothread='1'", r' form="\d+"'):
        assert re.search(traces, text)
        text = re.sub(traces, "", text)
    path = bench.directory / "older.xml"
    path.write_text(text)
    bench.virsh("define", str(path))
    return domain, attachments


def threads_of_disks(bench: LibvirtBench, domain: Domain, *inactive: str) -> list[str | None]:
    root = ElementTree.fromstring(bench.virsh("dumpxml", domain.instance, *inactive))  # noqa: S314
    return [driver.get("iothread") for driver in root.iterfind("devices/disk[@device='disk']/driver")]


async def test_it_runs_on_and_nobody_complains_of_it(bench: LibvirtBench) -> None:
    domain, attachments = await defined_before_there_were_io_threads(bench)
    assert await bench.hypervisor.drifts() == {}
    await bench.hypervisor.ensure_running(domain.instance, 1)
    before = await bench.hypervisor.domain(domain.instance)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    assert await bench.hypervisor.drifts() == {}
    assert await bench.hypervisor.domain(domain.instance) == before
    assert threads_of_disks(bench, domain) == [None]
    assert threads_of_disks(bench, domain, "--inactive") == ["1"]


async def test_what_is_plugged_in_is_as_the_run_needs_it_and_as_the_definition_does(bench: LibvirtBench) -> None:
    domain, attachments = await defined_before_there_were_io_threads(bench)
    await bench.hypervisor.ensure_running(domain.instance, 1)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    volume, attachment = bench.volume()
    await bench.hypervisor.ensure_attached(domain.instance, DomainDisk(1, volume), attachment)
    assert await bench.hypervisor.drifts() == {}
    assert threads_of_disks(bench, domain) == [None, None]
    assert threads_of_disks(bench, domain, "--inactive") == ["1", "1"]
    await bench.hypervisor.ensure_generation(domain.instance, 2)
    assert await bench.hypervisor.drifts() == {}
    assert threads_of_disks(bench, domain) == ["1", "1"]
