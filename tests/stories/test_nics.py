"""What a guest may send and receive, on a real libvirt, by the command line alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        await covey.do("instance add plug --image tick --memory 16M --network default")
        yield covey


async def test_rules_that_were_flushed_are_found_or_back(covey: CoveyUp) -> None:
    tap = (await covey.instance("plug"))["nics"][0]["tap"]
    assert f'"{tap}" : jump from-{tap}' in covey.within("nft", "list", "ruleset")
    covey.within("nft", "flush", "ruleset")
    await covey.do("cluster verify --fix --yes")
    assert f'"{tap}" : jump from-{tap}' in covey.within("nft", "list", "ruleset")
    assert await covey.findings() == []


async def test_a_firewall_holds_for_a_running_guest_and_goes_when_nobody_has_it(covey: CoveyUp) -> None:
    await covey.do("firewall add web", "--rule", "in tcp 80,443", "--rule", "in icmp from 10.77.0.0/24")
    await covey.do("instance modify plug --firewall web")
    await covey.do("nic modify plug 0 --limit-in 100M --also 10.77.0.200", "--rule", "in tcp 22 from firewall:web")
    rules = covey.within("nft", "list", "ruleset")
    assert "tcp dport { 80, 443 }" in rules
    assert "12500000 bytes/second" in rules or "12500 kbytes/second" in rules
    said = await covey.do("instance info plug")
    assert "web" in said
    assert "in tcp 22 from firewall:web" in said
    await covey.fail("firewall remove web --yes", says=["plug", "--no-firewall"])
    await covey.do("firewall modify web", "--rule", "in udp 53")
    assert "udp dport 53" in covey.within("nft", "list", "ruleset")
    assert await covey.findings() == []
    await covey.do("instance modify plug --no-firewall")
    await covey.do("nic modify plug 0 --no-rule --no-also --limit-in 0")
    await covey.do("firewall remove web --yes")
    assert await covey.findings() == []
    await covey.do("instance remove plug --purge --yes")
    assert "jump" not in covey.within("nft", "list", "ruleset")
