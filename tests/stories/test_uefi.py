"""A guest that UEFI starts, seen to start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.shell import Shell, add_micro

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]  # it boots by emulation
VARIABLE = "/mnt/Covey-c07e0000-93ca-11d2-aa0d-00e098032b8c"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_uefi_starts_a_guest_and_keeps_its_variables_over_starts(covey: CoveyUp) -> None:
    await add_micro(covey)
    await covey.do("instance add efi1 --iso micro --firmware uefi --memory 192M --nic none")
    guest = Shell(covey, "efi1")
    await guest.is_up()
    assert "BdsDxe: starting Boot" in await covey.console("efi1")
    assert await guest.run("cat /sys/firmware/efi/fw_platform_size") == "64\n"
    await guest.run(f"mount -t efivarfs efivarfs /mnt; printf '\\7\\0\\0\\0kept' > {VARIABLE}")
    await covey.do("instance reboot efi1 --now")
    await guest.is_up()
    assert "kept" in await guest.run(f"mount -t efivarfs efivarfs /mnt; cat {VARIABLE}")
    assert await covey.findings() == []


async def test_the_same_guest_starts_by_bios_when_that_is_asked_for(covey: CoveyUp) -> None:
    guest = Shell(covey, "efi1")
    await covey.do("instance modify efi1 --firmware bios")
    await covey.do("instance reboot efi1 --now")
    await guest.is_up()
    assert not await guest.succeeds("test -e /sys/firmware/efi")
    assert (await covey.instance("efi1"))["pending"] == []
