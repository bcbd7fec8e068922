"""NICs of every hypervisor: what host/hypervisor/protocol.py says of them. On a machine with two bridges, in a namespace of its own."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import NotFound, Refused
from covey.host.hypervisor.definition import digest
from covey.host.shelf import FileShelf, MemoryShelf
from covey.model.domain import Domain, DomainNic, FoundDomain, tap_of
from tests.kit.hypervisors import Bench, FakeBench, LibvirtBench

LAN, LAB = "br-lan", "br-lab"
GRACE_S = 20.0
NIC = DomainNic(0, "02:c0:7e:11:22:33", LAN)


def ip(*arguments: str) -> str:
    return subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True, timeout=20).stdout


@pytest.fixture(params=["fake", "fake-on-disk", pytest.param("libvirt", marks=pytest.mark.real)])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield FakeBench(MemoryShelf())
    elif request.param == "fake-on-disk":
        yield FakeBench(FileShelf(tmp_path / "shelf"))
    else:
        netns = f"cvtn{os.getpid()}"
        ip("netns", "add", netns)
        for bridge in (LAN, LAB):
            ip("-n", netns, "link", "add", bridge, "type", "bridge")
        real = LibvirtBench()
        await real.open(netns)
        try:
            yield real
        finally:
            await real.close()
            ip("netns", "del", netns)


async def guest(bench: Bench, *nics: DomainNic, runs: bool = False, lets_go: bool = True) -> Domain:
    plain, attachments = bench.guest(lets_go=lets_go)
    domain = replace(plain, nics=nics)
    await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
    if runs:
        await bench.hypervisor.ensure_running(domain.instance, 1)
        await bench.ready(domain)
    return domain


async def found(bench: Bench, domain: Domain) -> FoundDomain:
    one = await bench.hypervisor.domain(domain.instance)
    assert one is not None
    return one


@pytest.mark.parametrize("runs", [False, True])
async def test_a_nic_is_attached_once_and_detached_once(bench: Bench, runs: bool) -> None:
    domain = await guest(bench, runs=runs)
    for _ in range(2):
        await bench.hypervisor.ensure_nic_attached(domain.instance, NIC)
        one = await found(bench, domain)
        assert (one.nics, one.definition) == ((NIC,), digest(replace(domain, nics=(NIC,))))
    for _ in range(2):
        await bench.hypervisor.ensure_nic_detached(domain.instance, 0, GRACE_S)
        one = await found(bench, domain)
        assert (one.nics, one.definition, one.state) == ((), digest(domain), "running" if runs else "stopped")


async def test_a_nic_is_behind_the_interface_that_its_instance_and_index_name(bench: Bench) -> None:
    second = replace(NIC, index=3, mac="02:c0:7e:11:22:34", bridge=LAB)
    domain = await guest(bench, NIC, runs=True)
    await bench.hypervisor.ensure_nic_attached(domain.instance, second)
    assert await bench.hypervisor.taps(LAN) == (tap_of(domain.instance, 0),)
    assert await bench.hypervisor.taps(LAB) == (tap_of(domain.instance, 3),)
    await bench.hypervisor.ensure_generation(domain.instance, 2)
    assert (await found(bench, domain)).nics == (NIC, second)
    assert await bench.hypervisor.taps(LAB) == (tap_of(domain.instance, 3),)
    await bench.hypervisor.ensure_stopped(domain.instance)
    assert await bench.hypervisor.taps(LAB) == ()


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("changed", [replace(NIC, up=False), replace(NIC, bridge=LAB), replace(NIC, bridge=LAB, up=False)])
async def test_a_nic_is_set_and_set_back(bench: Bench, runs: bool, changed: DomainNic) -> None:
    domain = await guest(bench, NIC, runs=runs)
    for nic in (changed, changed, NIC):
        await bench.hypervisor.ensure_nic_set(domain.instance, nic)
        one = await found(bench, domain)
        assert (one.nics, one.definition) == ((nic,), digest(replace(domain, nics=(nic,))))
    if runs:
        await bench.hypervisor.ensure_nic_set(domain.instance, changed)
        assert await bench.hypervisor.taps(changed.bridge) == (tap_of(domain.instance, 0),)
        await bench.hypervisor.ensure_generation(domain.instance, 2)
        assert (await found(bench, domain)).nics == (changed,)


async def test_a_nic_that_is_not_there_cannot_be_set(bench: Bench) -> None:
    domain = await guest(bench, NIC)
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_nic_set(domain.instance, replace(NIC, index=1))
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_nic_set(str(uuid.uuid4()), NIC)


async def test_two_nics_are_not_one(bench: Bench) -> None:
    domain = await guest(bench, NIC)
    with pytest.raises(Refused):
        await bench.hypervisor.ensure_nic_attached(domain.instance, replace(NIC, mac="02:c0:7e:11:22:34"))
    with pytest.raises(Refused):
        await bench.hypervisor.ensure_nic_attached(domain.instance, replace(NIC, index=1))


async def test_attaching_to_what_is_not_defined_is_not_found_and_detaching_from_it_is_done(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.hypervisor.ensure_nic_attached(str(uuid.uuid4()), NIC)
    await bench.hypervisor.ensure_nic_detached(str(uuid.uuid4()), 0, 1)


async def test_a_guest_that_does_not_let_go_of_a_nic_keeps_it(bench: Bench) -> None:
    domain = await guest(bench, NIC, runs=True, lets_go=False)
    for _ in range(2):
        with pytest.raises(Refused, match="did not let go of NIC 0"):
            await bench.hypervisor.ensure_nic_detached(domain.instance, 0, 0.5)
    assert (await found(bench, domain)).nics == (NIC,)
    await bench.hypervisor.ensure_stopped(domain.instance)
    await bench.hypervisor.ensure_nic_detached(domain.instance, 0, 0.5)
    assert (await found(bench, domain)).nics == ()


async def test_a_domain_that_covey_did_not_make_gets_no_nic(bench: Bench) -> None:
    domain, _ = bench.guest()
    await bench.plant_foreign(domain.instance)
    for attempt in (
        bench.hypervisor.ensure_nic_attached(domain.instance, NIC),
        bench.hypervisor.ensure_nic_set(domain.instance, NIC),
        bench.hypervisor.ensure_nic_detached(domain.instance, 0, 1),
    ):
        with pytest.raises(Refused):
            await attempt
