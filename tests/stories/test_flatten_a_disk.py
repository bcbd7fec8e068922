"""Disks that become independent of what they lie on, by the command line alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey
from tests.stories.test_snapshots import counted, volumes

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_a_running_guest_goes_on_without_the_image_that_it_was_made_from(covey: CoveyUp) -> None:
    await covey.add_image("golden")
    await covey.do("instance add web1 --image golden --memory 16M --disk 64M")
    await covey.goes_on("web1")
    pid = (await covey.instance("web1"))["pid"]
    await covey.fail("image remove golden --yes", says=["web1", "disk flatten"])
    shown = await covey.do("disk flatten web1 0 --dry-run")
    assert "independent" in shown
    await covey.fail("image remove golden --yes", says=["web1"])
    await covey.do("disk flatten web1 0")
    await covey.do("image remove golden --yes")
    await covey.goes_on("web1")
    assert (await covey.instance("web1"))["pid"] == pid
    await covey.do("instance reboot web1 --now")
    await covey.goes_on("web1")
    assert "lies on nothing already" in await covey.do("disk flatten web1 0")
    assert await covey.findings() == []
    await covey.do("instance remove web1 --purge --yes")
    assert volumes(covey) == []


async def test_clones_that_are_flattened_part_and_what_they_had_in_common_goes(covey: CoveyUp) -> None:
    await covey.do("instance add web2 --image tick --memory 16M")
    await covey.goes_on("web2")
    await covey.do("instance clone web2 web3")
    held = counted(covey, await covey.instance("web3"))
    await covey.do("disk flatten web3 0")
    assert counted(covey, await covey.instance("web3")) == held > 0
    assert len(volumes(covey)) == 3
    await covey.do("disk flatten web2 0")
    assert len(volumes(covey)) == 2
    await covey.goes_on("web2")
    await covey.do("instance start web3")
    await covey.goes_on("web3")
    assert await covey.findings() == []
    for name in ("web2", "web3"):
        await covey.do(f"instance remove {name} --purge --yes")
    assert volumes(covey) == []
