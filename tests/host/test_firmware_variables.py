"""What a guest's UEFI remembers outlives the guest's removal for as long as that may be undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kit.hypervisors import LibvirtBench

from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain

pytestmark = pytest.mark.real
MIB = 2**20
MARK = b"what an administrator enrolled"


@pytest.fixture
async def bench() -> AsyncIterator[LibvirtBench]:
    bench = LibvirtBench()
    await bench.open()
    try:
        yield bench
    finally:
        await bench.close()


async def removed(bench: LibvirtBench) -> tuple[Domain, dict[str, Attachment], Path]:
    """A guest that has run by UEFI and was removed for a while; and where its variables are while it is there."""
    domain, attachments = bench.guest()
    domain = replace(domain, firmware="uefi", memory=64 * MIB)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    await bench.hypervisor.ensure_running(domain.instance, 1)
    await bench.hypervisor.ensure_stopped(domain.instance)
    (variables,) = bench.directory.rglob("nvram.fd")
    with variables.open("r+b") as file:
        file.write(MARK)
    await bench.hypervisor.ensure_absent(domain.instance, keep_variables=True)
    await bench.hypervisor.ensure_absent(domain.instance, keep_variables=True)  # it was killed, and is carried out again
    assert not variables.exists()
    return domain, attachments, variables


async def test_it_is_there_again_when_the_guest_comes_back_and_starts(bench: LibvirtBench) -> None:
    domain, attachments, variables = await removed(bench)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    assert variables.read_bytes().startswith(MARK)
    await bench.hypervisor.ensure_running(domain.instance, 2)


async def test_a_restoring_that_was_taken_back_loses_nothing_of_it(bench: LibvirtBench) -> None:
    domain, attachments, variables = await removed(bench)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    await bench.hypervisor.ensure_absent(domain.instance, "job-2")
    assert not variables.exists()
    await bench.hypervisor.ensure_defined(domain, attachments, "job-3")
    assert variables.read_bytes().startswith(MARK)


async def test_it_goes_with_the_guest_for_good(bench: LibvirtBench) -> None:
    domain, attachments, variables = await removed(bench)
    await bench.hypervisor.ensure_absent(domain.instance)
    assert list(bench.directory.rglob("*.fd")) == []
    await bench.hypervisor.ensure_defined(domain, attachments, "job-2")
    assert not variables.exists()
