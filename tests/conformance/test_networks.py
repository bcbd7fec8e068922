"""One suite for guests' networks: each sentence of host/network/protocol.py, of the fake and of the kernel."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from covey.base.errors import BadInput, Refused, Unavailable
from covey.host.network.bridge import HostNetworks
from covey.host.network.protocol import Networks
from covey.model.network import Arrival, Entrance, FoundNetwork, Network
from tests.kit.networks import BOTH, ISLE, LAB, LAN, PUBLIC, SITE, SIX, FakeSite, RealSite, Site, ip, within


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def site(request: pytest.FixtureRequest) -> Site:
    if request.param == "fake":
        return FakeSite()
    real: RealSite = request.getfixturevalue("real")
    return real


async def only(networks: Networks, *wanted: Network) -> FoundNetwork:
    (found,) = await networks.networks(wanted)
    return found


@pytest.mark.parametrize("network", [LAN, LAB, SIX, BOTH, ISLE, PUBLIC, SITE], ids=str)
async def test_an_ensured_network_is_found_intact_with_its_tag(site: Site, network: Network) -> None:
    await site.networks.ensure_network(network, "7")
    job = "" if network.adopted else "7"
    assert await only(site.networks, network) == FoundNetwork(network.id, network.bridge, job, intact=True)


async def test_an_adopted_bridge_outlives_its_network(site: Site) -> None:
    await site.networks.ensure_network(SITE, "7")
    await site.networks.ensure_absent(SITE)
    assert (await only(site.networks, SITE)).intact, "it is there"
    assert await site.networks.networks(()) == ()


async def test_a_machine_says_what_it_has_of_its_own_to_link_networks_to(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    own = await site.networks.interfaces()
    assert {"uplink", "br0"} <= set(own.names)
    assert "cv-lan" not in own.names
    assert own.bridges == ("br0",)


@pytest.mark.parametrize(
    ("bridge", "why"), [("uplink", "it is no bridge"), ("br9", "there is none"), ("cv-lan", "Covey made it")]
)
async def test_only_a_bridge_of_the_owner_is_adopted(site: Site, bridge: str, why: str) -> None:
    await site.networks.ensure_network(LAN, "7")
    with pytest.raises(Refused, match=why):
        await site.networks.ensure_network(replace(SITE, bridge=bridge), "8")


OPEN = (Entrance("tcp", 8080, "10.77.0.10", "", 80, ()), Entrance("udp", 53, "10.77.0.11", "", 5353, ("192.0.2.0/24",)))


@pytest.mark.parametrize(
    "changed",
    [
        replace(LAN, entrances=OPEN),
        replace(LAN, entrances=OPEN[:1], host_ports=("tcp/22",)),
        replace(LAN, dns=("10.77.0.1",)),
        replace(LAN, nat=False, isolated=True),
    ],
)
async def test_what_leads_in_and_what_is_let_through_follow_the_record(site: Site, changed: Network) -> None:
    for network, former in ((LAN, changed), (changed, LAN), (LAN, changed)):
        await site.networks.ensure_network(network, "7")
        assert (await only(site.networks, network)).intact
        assert not (await only(site.networks, former)).intact


async def test_routes_to_guests_come_and_go_one_by_one(site: Site) -> None:
    await site.networks.ensure_network(replace(PUBLIC, routes=()), "7")
    await site.networks.ensure_routed(PUBLIC, ("192.0.2.30", "2001:db8::30"))
    await site.networks.ensure_routed(PUBLIC, ("192.0.2.31",))
    await site.networks.ensure_routed(PUBLIC, ("192.0.2.31",))
    await site.networks.ensure_not_routed(PUBLIC, ("192.0.2.31", "192.0.2.39"))
    assert (await only(site.networks, PUBLIC)).intact
    await site.networks.ensure_not_routed(PUBLIC, PUBLIC.routes)
    await site.networks.ensure_not_routed(PUBLIC, PUBLIC.routes)
    assert (await only(site.networks, replace(PUBLIC, routes=()))).intact


async def test_a_route_too_many_or_too_few_is_found_and_repaired(site: Site) -> None:
    await site.networks.ensure_network(PUBLIC, "7")
    await site.networks.ensure_routed(PUBLIC, ("192.0.2.39",))
    found = await only(site.networks, PUBLIC)
    assert not found.intact and "192.0.2.39" in found.why
    await site.networks.ensure_network(PUBLIC, "8")
    site.lose_route(PUBLIC, "192.0.2.30")
    found = await only(site.networks, PUBLIC)
    assert not found.intact and "192.0.2.30" in found.why
    await site.networks.ensure_network(PUBLIC, "9")
    assert (await only(site.networks, PUBLIC)).intact


async def test_announcing_changes_nothing_and_passes_over_interfaces_that_are_gone(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    await site.networks.announce((Arrival("cvtgone-0", "02:c0:7e:00:00:01", ("10.77.0.10",)),))
    assert (await only(site.networks, LAN)).intact


async def test_an_uplink_that_is_not_there_is_refused(site: Site) -> None:
    with pytest.raises(Refused, match="eth7"):
        await site.networks.ensure_network(replace(PUBLIC, uplink="eth7"), "7")
    with pytest.raises(Refused, match="cv-public"):
        await site.networks.ensure_routed(PUBLIC, ("192.0.2.30",))
    await site.networks.ensure_not_routed(PUBLIC, ("192.0.2.30",))


async def test_a_family_more_or_less_is_found_and_repaired(site: Site) -> None:
    only4 = replace(BOTH, subnet6="", gateway6="", nat6=False)
    for network in (only4, BOTH, only4):
        await site.networks.ensure_network(network, "7")
        assert (await only(site.networks, network)).intact
        assert not (await only(site.networks, BOTH if network is only4 else only4)).intact


async def test_two_ipv6_networks_do_not_share_a_subnet(site: Site) -> None:
    await site.networks.ensure_network(SIX, "7")
    with pytest.raises(Refused, match="cv-six"):
        await site.networks.ensure_network(replace(BOTH, subnet6="fd00:77::/96", gateway6="fd00:77::9"), "8")


async def test_ensuring_a_network_twice_is_ensuring_it_once(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    await site.networks.ensure_network(LAN, "8")
    assert await only(site.networks, LAN) == FoundNetwork(LAN.id, "cv-lan", "7", intact=True)


async def test_a_machine_without_networks_has_none(site: Site) -> None:
    assert await site.networks.networks((LAN,)) == ()


async def test_a_network_that_no_record_names_is_found_but_not_intact(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    found = await only(site.networks)
    assert (found.id, found.intact, found.why) == (LAN.id, False, "no record to compare it with")


async def test_removing_one_network_leaves_the_other_intact(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    await site.networks.ensure_network(LAB, "8")
    await site.networks.ensure_absent(LAN)
    assert await only(site.networks, LAN, LAB) == FoundNetwork(LAB.id, "cv-lab", "8", intact=True)


async def test_removing_a_network_twice_is_removing_it_once(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    await site.networks.ensure_absent(LAN)
    await site.networks.ensure_absent(LAN)
    assert await site.networks.networks((LAN,)) == ()


async def test_a_job_takes_back_its_own_network_only(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    await site.networks.ensure_absent(LAN, "8")
    assert (await only(site.networks, LAN)).intact
    await site.networks.ensure_absent(LAN, "7")
    assert await site.networks.networks((LAN,)) == ()


async def test_flushed_rules_are_found_and_repaired(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    site.flush()
    found = await only(site.networks, LAN)
    assert (found.intact, found.why) == (False, "its packet rules are gone")
    await site.networks.ensure_network(LAN, "8")
    assert await only(site.networks, LAN) == FoundNetwork(LAN.id, "cv-lan", "7", intact=True)


async def test_a_record_that_has_changed_is_not_intact_until_it_is_ensured(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    changed = replace(LAN, subnet="10.79.0.0/24", gateway="10.79.0.254", nat=False)
    found = await only(site.networks, changed)
    assert not found.intact and "10.77.0.1/24" in found.why
    await site.networks.ensure_network(changed, "8")
    assert (await only(site.networks, changed)).intact


@pytest.mark.parametrize("bridge", ["uplink", "br0"])
async def test_an_interface_that_covey_did_not_make_is_refused(site: Site, bridge: str) -> None:
    with pytest.raises(Refused, match=f"{bridge} was not made by Covey"):
        await site.networks.ensure_network(replace(LAN, bridge=bridge), "7")


async def test_removing_a_network_leaves_a_foreign_interface_of_its_name_alone(site: Site) -> None:
    await site.networks.ensure_absent(replace(LAN, bridge="br0"))
    with pytest.raises(Refused, match="br0 was not made by Covey"):
        await site.networks.ensure_network(replace(LAN, bridge="br0"), "7")


async def test_the_bridge_of_another_network_is_refused(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    with pytest.raises(Refused, match=f"cv-lan is the bridge of network {LAN.id}"):
        await site.networks.ensure_network(replace(LAB, bridge="cv-lan"), "8")


async def test_a_network_has_one_bridge_only(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    with pytest.raises(Refused, match="here already, by the name cv-lan"):
        await site.networks.ensure_network(replace(LAN, bridge="cv-other"), "8")


@pytest.mark.parametrize(("subnet", "gateway"), [("192.0.2.0/28", "192.0.2.1"), ("192.0.0.0/16", "192.0.0.1")])
async def test_a_subnet_in_use_is_refused_and_the_interface_named(site: Site, subnet: str, gateway: str) -> None:
    with pytest.raises(Refused, match="in use on this machine: uplink"):
        await site.networks.ensure_network(replace(LAN, subnet=subnet, gateway=gateway), "7")
    assert await site.networks.networks((LAN,)) == ()


async def test_two_networks_do_not_share_a_subnet(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    with pytest.raises(Refused, match="cv-lan"):
        await site.networks.ensure_network(replace(LAB, subnet="10.77.0.128/25", gateway="10.77.0.129"), "8")


async def test_a_network_with_guests_on_it_is_not_removed(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    site.plug(LAN, "vnet0")
    with pytest.raises(Refused, match="vnet0 still on the bridge"):
        await site.networks.ensure_absent(LAN)
    await site.networks.ensure_network(LAN, "7")
    site.unplug(LAN)
    await site.networks.ensure_absent(LAN)
    assert await site.networks.networks((LAN,)) == ()


@pytest.mark.parametrize(
    "network",
    [
        replace(LAN, id='1" } ; flush ruleset'),
        replace(LAN, id=LAN.id.upper()),
        replace(LAN, bridge='x" accept; #'),
        replace(LAN, bridge="../../ipv4"),
        replace(LAN, bridge="all"),
        replace(LAN, bridge="sixteen-letters-"),
        replace(LAN, bridge=""),
        replace(LAN, subnet="0.0.0.0/0"),
        replace(LAN, subnet="10.77.0.1/24"),
        replace(LAN, subnet="10.77.0.0/24 accept"),
        replace(LAN, subnet="127.1.0.0/24", gateway="127.1.0.1"),
        replace(LAN, subnet="fd00::/64"),
        replace(LAN, gateway="10.78.0.1"),
        replace(LAN, gateway="10.77.0.255"),
        replace(LAN, gateway="10.77.0.1\n"),
        replace(LAN, subnet="", gateway=""),
        replace(BOTH, subnet6="fd00:79::1/64"),
        replace(BOTH, subnet6="fd00:79::/64 accept"),
        replace(BOTH, subnet6="fe80::/64", gateway6="fe80::1"),
        replace(BOTH, gateway6="fd00:79::1%eth0"),
        replace(BOTH, gateway6="fd00:79::"),
        replace(BOTH, gateway6="fd00:80::1"),
        replace(LAN, dns=("::1 accept",)),
        replace(LAN, dns=("fe80::1%eth0",)),
        replace(LAN, host_ports=("tcp/22 accept",)),
        replace(LAN, entrances=(Entrance("sctp", 1, "10.77.0.10", "", 1, ()),)),
        replace(LAN, entrances=(Entrance("tcp", 1, "10.77.0.10; flush ruleset", "", 1, ()),)),
        replace(LAN, entrances=(Entrance("tcp", 1, "10.77.0.10", "", 1, ("0.0.0.0/0 accept",)),)),
        replace(PUBLIC, uplink="../all"),
        replace(PUBLIC, routes=("192.0.2.30/24",)),
        replace(PUBLIC, gateway="224.0.0.1"),
    ],
)
async def test_what_is_not_a_plain_network_reaches_no_machine(site: Site, network: Network) -> None:
    with pytest.raises(BadInput):
        await site.networks.ensure_network(network, "7")
    with pytest.raises(BadInput):
        await site.networks.ensure_absent(network)


async def test_a_job_that_is_no_plain_word_is_refused(site: Site) -> None:
    with pytest.raises(BadInput):
        await site.networks.ensure_network(LAN, '7" }')


@pytest.mark.real
async def test_the_second_ensure_touches_nothing_at_all(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    before = real.state()
    await real.networks.ensure_network(LAN, "8")
    assert real.state() == before


@pytest.mark.real
async def test_a_bridge_has_no_spanning_tree_and_no_ipv6_and_keeps_its_own_mac(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    (before,) = json.loads(ip("-d", "-j", "link", "show", LAN.bridge, netns=real.netns))
    real.guest(LAN, "10.77.0.10")
    (after,) = json.loads(ip("-d", "-j", "link", "show", LAN.bridge, netns=real.netns))
    assert after["address"] == before["address"]
    assert (before["linkinfo"]["info_data"]["stp_state"], before["linkinfo"]["info_data"]["forward_delay"]) == (0, 0)
    assert before["ifalias"] == f"covey {LAN.id} 7"
    assert ip("-6", "addr", "show", "dev", LAN.bridge, netns=real.netns) == ""


@pytest.mark.real
@pytest.mark.parametrize(
    ("disturbance", "why"),
    [
        (("ip", "link", "set", "cv-lan", "down"), "the bridge is down"),
        (("ip", "link", "set", "cv-lan", "group", "default"), "settings were changed"),
        (("ip", "link", "set", "cv-lan", "type", "bridge", "stp_state", "1"), "settings were changed"),
        (("ip", "addr", "flush", "dev", "cv-lan"), "its addresses are none, not 10.77.0.1/24"),
        (("ip", "addr", "add", "10.79.0.1/24", "dev", "cv-lan"), "10.79.0.1/24, not"),
        (("sysctl", "-q", "net.ipv4.ip_forward=0"), "net.ipv4.ip_forward is 0"),
        (("sysctl", "-q", "net.ipv6.conf.cv-lan.disable_ipv6=0"), "settings were changed"),
        (("nft", "flush", "chain", "inet", f"covey-{LAN.id}", "postrouting"), "its packet rules were changed"),
        (("nft", "add", "rule", "inet", f"covey-{LAN.id}", "forward", "drop"), "its packet rules were changed"),
    ],
)
async def test_what_was_changed_by_hand_is_named_and_repaired(real: RealSite, disturbance: tuple[str, ...], why: str) -> None:
    await real.networks.ensure_network(LAN, "7")
    within(real.netns, *disturbance)
    found = await only(real.networks, LAN)
    assert not found.intact and why in found.why
    await real.networks.ensure_network(LAN, "8")
    assert await only(real.networks, LAN) == FoundNetwork(LAN.id, "cv-lan", "7", intact=True)


@pytest.mark.real
@pytest.mark.parametrize(
    ("disturbance", "why"),
    [
        (("sysctl", "-q", "net.ipv6.conf.uplink.proxy_ndp=0"), "uplink does not answer for 2001:db8::30"),
        (("ip", "neigh", "del", "proxy", "192.0.2.30", "dev", "uplink"), "uplink does not answer for 192.0.2.30"),
        (("sysctl", "-q", "net.ipv6.conf.all.forwarding=0"), "net.ipv6.conf.all.forwarding is 0"),
        (("sysctl", "-q", "net.ipv6.conf.cv-public.accept_ra=1"), "settings were changed"),
    ],
)
async def test_what_answers_for_guests_is_looked_after(real: RealSite, disturbance: tuple[str, ...], why: str) -> None:
    await real.networks.ensure_network(PUBLIC, "7")
    within(real.netns, *disturbance)
    found = await only(real.networks, PUBLIC)
    assert not found.intact and why in found.why
    await real.networks.ensure_network(PUBLIC, "8")
    assert (await only(real.networks, PUBLIC)).intact


@pytest.mark.real
async def test_an_adopted_bridge_that_is_down_is_said_and_left_alone(real: RealSite) -> None:
    before = real.state()
    await real.networks.ensure_network(SITE, "7")
    assert real.state() == before
    ip("link", "set", "br0", "down", netns=real.netns)
    assert (await only(real.networks, SITE)).why == "the bridge is down"
    with pytest.raises(Refused, match="it is down"):
        await real.networks.ensure_network(SITE, "7")


@pytest.mark.real
async def test_what_another_nodes_covey_made_is_foreign(real: RealSite) -> None:
    mine, other = (HostNetworks(real.netns, owner=LAN.id.replace("5f", digits)) for digits in ("6f", "7f"))
    await mine.ensure_network(LAN, "7")
    assert (await only(mine, LAN)).intact
    assert await other.networks((LAN,)) == ()
    await other.ensure_absent(LAN)
    assert (await only(mine, LAN)).intact
    with pytest.raises(Refused, match="was not made by Covey"):
        await other.ensure_network(replace(LAB, bridge="cv-lan"), "8")


@pytest.mark.real
async def test_rules_that_lost_their_bridge_are_listed_and_removed(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    ip("link", "del", LAN.bridge, netns=real.netns)
    assert await only(real.networks, LAN) == FoundNetwork(LAN.id, "", "7", intact=False, why="rules without a bridge")
    await real.networks.ensure_absent(LAN, "8")
    assert (await only(real.networks, LAN)).job == "7"
    await real.networks.ensure_absent(LAN, "7")
    assert await real.networks.networks((LAN,)) == ()


@pytest.mark.real
async def test_a_bridge_made_by_a_killed_agent_before_it_was_tagged_is_finished(real: RealSite) -> None:
    ip("link", "add", LAN.bridge, "group", "49278", "type", "bridge", netns=real.netns)
    await real.networks.ensure_network(LAN, "7")
    assert await only(real.networks, LAN) == FoundNetwork(LAN.id, "cv-lan", "7", intact=True)


@pytest.mark.real
async def test_rules_of_others_survive_the_coming_and_going_of_a_network(real: RealSite) -> None:
    within(real.netns, "nft", "add", "table", "inet", "covey")
    within(real.netns, "nft", "add", "table", "ip", "theirs")
    before = within(real.netns, "nft", "list", "ruleset")
    await real.networks.ensure_network(LAN, "7")
    await real.networks.ensure_absent(LAN)
    assert within(real.netns, "nft", "list", "ruleset") == before


@pytest.mark.real
async def test_a_route_into_the_subnet_is_refused_but_a_default_route_is_not(real: RealSite) -> None:
    for route in ("default", "0.0.0.0/1", "128.0.0.0/1"):
        ip("route", "add", route, "via", "192.0.2.20", netns=real.netns)
    await real.networks.ensure_network(LAN, "7")
    ip("route", "add", "10.78.0.0/16", "via", "192.0.2.20", netns=real.netns)
    with pytest.raises(Refused, match=r"uplink has the route 10\.78\.0\.0/16"):
        await real.networks.ensure_network(LAB, "8")


@pytest.mark.real
async def test_a_namespace_that_is_gone_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await HostNetworks("covey-no-such").ensure_network(LAN, "7")
