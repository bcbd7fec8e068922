"""KVM is believed in only when a guest has run under it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from covey.base.errors import BadInput, Bug, Refused
from covey.host.hypervisor.prove import DEVICE, find_obstacle, proof_sector, prove_accelerator
from covey.host.hypervisor.sector import SIZE, Sector

LIMIT_S = 3.0


def emulators() -> set[str]:
    """QEMU's processes that run a proof (other tests' guests are not ours to count)."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and b"covey-prove-" in (process / "cmdline").read_bytes():
                found.add(process.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.real
async def test_the_proof_guest_runs_where_an_accelerator_works() -> None:
    assert await find_obstacle(20, accelerator="tcg") == ""
    assert await find_obstacle(20, "libvirt-qemu", accelerator="tcg") == ""


@pytest.mark.real
async def test_a_device_that_hangs_is_found_out_in_time_and_leaves_no_process() -> None:
    began = time.monotonic()
    accelerator, why = await prove_accelerator("auto", LIMIT_S)
    assert time.monotonic() - began < LIMIT_S + 6
    assert emulators() == set()
    assert (accelerator, why) == ("kvm", "a guest ran under KVM") or (accelerator == "tcg" and "KVM does not work" in why)


@pytest.mark.real
async def test_a_cancelled_proof_leaves_no_process() -> None:
    proof = asyncio.create_task(find_obstacle(30))
    await asyncio.sleep(0.3)
    proof.cancel()
    with pytest.raises(asyncio.CancelledError):
        await proof
    assert emulators() == set()


@pytest.mark.real
async def test_kvm_that_was_asked_for_and_does_not_work_is_refused() -> None:
    """Wherever this runs: no guest says its word within a hundredth of a second."""
    with pytest.raises(Refused, match="KVM does not work"):
        await prove_accelerator("kvm", 0.01)


@pytest.mark.real
async def test_a_device_closed_to_qemus_user_is_an_obstacle() -> None:
    if DEVICE.exists() and DEVICE.stat().st_mode & 0o077 == 0:
        assert "ermission denied" in await find_obstacle(LIMIT_S, "libvirt-qemu")


async def test_tcg_needs_no_proof_and_other_words_are_bad_input() -> None:
    assert (await prove_accelerator("tcg", 0))[0] == "tcg"
    with pytest.raises(BadInput):
        await prove_accelerator("hyperdrive", 1)


def test_a_boot_sector_has_its_size_and_signature() -> None:
    sector = proof_sector()
    assert len(sector) == SIZE
    assert sector[-2:] == b"\x55\xaa"


def test_a_boot_sector_that_does_not_fit_or_refers_to_nothing_is_a_bug() -> None:
    with pytest.raises(Bug):
        Sector().put(b"\x90" * SIZE).finished()
    with pytest.raises(Bug):
        Sector().jump("nowhere").finished()
    with pytest.raises(Bug):
        Sector().refer(b"\xeb", "far", "short").put(b"\x90" * 200).label("far").finished()
