"""Clones of guests, by the command line alone."""

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


async def test_a_running_guest_and_its_clone_both_run_on_from_one_point(covey: CoveyUp) -> None:
    await covey.do("instance add web1 --image tick --memory 16M --disk 1M --disk 2M")
    await covey.goes_on("web1")
    before = await covey.ticks("web1")
    await covey.do("instance clone web1 web2 --start")
    for name in ("web1", "web2"):
        await covey.goes_on(name)
    web1, web2 = await covey.instance("web1"), await covey.instance("web2")
    assert web1["nics"][0]["mac"] != web2["nics"][0]["mac"]
    assert web1["nics"][0]["address"] != web2["nics"][0]["address"]
    assert (await covey.ticks("web2")) > before, "the clone begins where its source was"
    assert await covey.findings() == []
    await covey.do("instance remove web1 --purge --yes")
    await covey.goes_on("web2")
    await covey.do("instance reboot web2 --now")
    await covey.goes_on("web2")
    assert await covey.findings() == []
    await covey.do("instance remove web2 --purge --yes")
    assert volumes(covey) == []


async def test_a_full_copy_of_a_snapshot_needs_nothing_of_its_source(covey: CoveyUp) -> None:
    await covey.do("instance add web3 --image tick --memory 16M")
    await covey.goes_on("web3")
    await covey.fail("instance clone web3 web4 --full", says=["instance web3", "snapshot add web3"])
    await covey.do("snapshot add web3 point")
    await covey.goes_on("web3")
    await covey.do("instance clone web3 web4 --full --snapshot point")
    await covey.do("instance clone web3 web5 --snapshot point --identical")
    copied = counted(covey, await covey.instance("web4"))
    assert 0 < copied == counted(covey, await covey.instance("web5"))
    assert [nic["up"] for nic in (await covey.instance("web5"))["nics"]] == [False]
    await covey.do("snapshot remove web3 point --yes")
    await covey.goes_on("web3")
    await covey.do("instance remove web3 --purge --yes")
    for name in ("web4", "web5"):
        await covey.do(f"instance start {name}")
        await covey.goes_on(name)
    assert await covey.findings() == []
    for name in ("web4", "web5"):
        await covey.do(f"instance remove {name} --purge --yes")
    assert volumes(covey) == []
