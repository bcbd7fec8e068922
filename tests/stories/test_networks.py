"""Networks of every type by the command line, on a real libvirt and the real kernel. Behind the bridges, namespaces stand for guests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.networks import RealSite, ip, network_of, seen_from

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
MACHINE, OUTSIDE, OUTSIDE6 = "192.0.2.10", "192.0.2.20", "2001:db8::20"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


@pytest.fixture(scope="module")
def site(covey: CoveyUp) -> Iterator[RealSite]:
    site = RealSite(covey.netns)
    yield site
    site.remove()


async def as_guest(covey: CoveyUp, site: RealSite, name: str, address: str) -> str:
    """A namespace on the network `name` with an address that an instance has; returns its name."""
    return site.guest(network_of(await covey.json(f"network info {name}")), address)


async def test_a_forwarded_port_is_reached_from_outside_and_follows_its_instance(covey: CoveyUp, site: RealSite) -> None:
    await covey.do("instance add web1 --image tick --memory 16M --disk 1M --nic default,address=10.77.0.80")
    await covey.do("forward add tcp/8080 web1:7777")
    assert "10.77.0.80:7777" in await covey.do("forward list")
    assert "tcp/8080 to 7777" in await covey.do("instance info web1")
    guest = await as_guest(covey, site, "default", "10.77.0.80")
    assert seen_from(site.outside, guest, "10.77.0.80", by=MACHINE, port=8080) == OUTSIDE
    assert seen_from(site.outside, guest, "10.77.0.80", by=MACHINE, port=8081) == "ConnectionRefusedError"
    await covey.fail("forward add tcp/8080 web1:80", says=["leads elsewhere", "covey forward info tcp-8080"])
    await covey.do("forward add tcp/8081 web1:7777 --from 198.51.100.0/24")
    assert seen_from(site.outside, guest, "10.77.0.80", by=MACHINE, port=8081) == "ConnectionRefusedError"
    covey.within("nft", "flush", "ruleset")
    assert ("network-broken", True) in {(finding["name"], finding["fixable"]) for finding in await covey.findings()}
    await covey.do("cluster verify --fix --yes")
    assert seen_from(site.outside, guest, "10.77.0.80", by=MACHINE, port=8080) == OUTSIDE
    await covey.do("forward remove tcp/8081 --yes")
    await covey.do("instance remove web1 --yes")
    assert await covey.json("forward list") == []
    assert "dnat" not in covey.within("nft", "list", "ruleset").replace("ct status dnat", "")
    assert await covey.findings() == []


async def test_guests_reach_of_their_node_what_is_allowed(covey: CoveyUp, site: RealSite) -> None:
    guest = await as_guest(covey, site, "default", "10.77.0.81")
    assert seen_from(guest, covey.netns, "10.77.0.1", patience_s=1) == "TimeoutError"
    await covey.do("network modify default --allow-host tcp/7777")
    assert seen_from(guest, covey.netns, "10.77.0.1") == "10.77.0.81"
    await covey.do("network modify default --deny-host tcp/7777 --reserve 10.77.0.2-10.77.0.9 --dns 9.9.9.9 --notes 'ask anna'")
    assert seen_from(guest, covey.netns, "10.77.0.1", patience_s=1) == "TimeoutError"
    told = await covey.do("network info default")
    for words in ("10.77.0.2-10.77.0.9", "9.9.9.9", "ask anna", "nothing and ping"):
        assert words in told
    await covey.do("instance add next1 --image tick --memory 16M --disk 1M --no-start")
    assert (await covey.instance("next1"))["addresses"] == ["10.77.0.10"]
    assert await covey.findings() == []


async def test_a_guest_has_addresses_of_the_uplinks_own_subnets(covey: CoveyUp, site: RealSite) -> None:
    await covey.do(
        "network add public --type routed --uplink uplink --subnet 192.0.2.0/24 --pool-first 192.0.2.30 --pool-last 192.0.2.39 "
        "--subnet6 2001:db8::/64 --pool6-first 2001:db8::30 --pool6-last 2001:db8::39"
    )
    await covey.do("instance add pub1 --image tick --memory 16M --disk 1M --network public")
    assert (await covey.instance("pub1"))["addresses"] == ["192.0.2.30", "2001:db8::30"]
    for address, outside in (("192.0.2.30", OUTSIDE), ("2001:db8::30", OUTSIDE6)):
        guest = await as_guest(covey, site, "public", address)
        assert seen_from(site.outside, guest, address) == outside
        assert seen_from(guest, site.outside, outside) == address
    covey.within("ip", "link", "delete", "cv-public")
    assert "network-broken" in {finding["name"] for finding in await covey.findings()}
    await covey.do("cluster verify --fix --yes")
    assert await covey.findings() == []
    guest = await as_guest(covey, site, "public", "192.0.2.30")
    assert seen_from(site.outside, guest, "192.0.2.30") == OUTSIDE
    await covey.fail("forward add tcp/81 pub1", says=["no networks with NAT"])
    await covey.do("instance remove pub1 --yes")
    assert "proto 199" not in covey.within("ip", "route") + covey.within("ip", "neigh", "show", "proxy")


async def test_an_adopted_bridge_carries_guests_and_stays_as_it_is(covey: CoveyUp, site: RealSite) -> None:
    before = covey.within("ip", "-4", "-brief", "addr", "show", "br0").split()[2:], covey.within("nft", "list", "ruleset")
    await covey.fail("network add site --type adopted --bridge uplink", says=["no bridge uplink"])
    await covey.do("network add site --type adopted --bridge br0")
    await covey.do("instance add lan1 --image tick --memory 16M --disk 1M --network site")
    assert len(covey.within("ip", "-o", "link", "show", "master", "br0").splitlines()) == 1
    assert await covey.findings() == []
    await covey.do("instance remove lan1 --yes")
    await covey.do("network remove site --yes")
    after = covey.within("ip", "-4", "-brief", "addr", "show", "br0").split()[2:], covey.within("nft", "list", "ruleset")
    assert after == before


async def test_networks_without_ipv4_or_without_a_way_out(covey: CoveyUp, site: RealSite) -> None:
    await covey.do("network add six --subnet6 2001:db8:6::/64")
    await covey.do("network add isle --type isolated --subnet 10.8.0.0/24")
    await covey.do("instance add six1 --image tick --memory 16M --disk 1M --network six --no-start")
    assert (await covey.instance("six1"))["addresses"] == ["2001:db8:6::2"]
    guest = await as_guest(covey, site, "six", "2001:db8:6::2")
    ip("route", "add", "2001:db8:6::/64", "via", "2001:db8::10", netns=site.outside)
    assert seen_from(site.outside, guest, "2001:db8:6::2") == OUTSIDE6
    one, other = [await as_guest(covey, site, "isle", address) for address in ("10.8.0.1", "10.8.0.2")]
    assert seen_from(one, other, "10.8.0.2") == "10.8.0.1"
    assert covey.within("ip", "-4", "addr", "show", "cv-isle") == ""
    listed = await covey.do("network list")
    assert "isolated" in listed and "routed" in listed


async def test_a_bridge_that_no_record_names_is_found_and_removed(covey: CoveyUp, site: RealSite) -> None:
    old = "5f3c1f0e-0000-4000-8000-0000000000ff"
    covey.within("ip", "link", "add", "cv-old", "type", "bridge")
    covey.within("ip", "link", "set", "cv-old", "alias", f"covey {old} 1")
    covey.within("nft", f'add table inet covey-{old} {{ comment "covey {old} 1"; }}')
    (finding,) = await covey.findings()
    assert (finding["name"], finding["severity"], finding["fixable"]) == ("orphan-network", "warning", True)
    await covey.do("cluster verify --fix --yes")
    assert await covey.findings() == []
    assert old not in covey.within("nft", "list", "tables") + covey.within("ip", "link")
