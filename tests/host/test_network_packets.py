"""What gets through: guests behind a bridge, somebody outside, and the machine between them. All real, in network namespaces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.kit.networks import BOTH, ISLE, LAB, LAN, PUBLIC, SIX, RealSite, ip, seen_from, within

from covey.model.network import Entrance

pytestmark = pytest.mark.real
MACHINE, OUTSIDE, OUTSIDE6 = "192.0.2.10", "192.0.2.20", "2001:db8::20"
WEB = Entrance("tcp", 8080, "10.77.0.10", "", 7777, ())


async def test_a_guest_behind_nat_reaches_the_outside_by_the_machines_address(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    assert seen_from(guest, real.outside, "192.0.2.20") == "192.0.2.10"


async def test_ipv6_of_a_guest_is_hidden_when_that_is_asked_for(real: RealSite) -> None:
    await real.networks.ensure_network(BOTH, "7")
    guest = real.guest(BOTH, "fd00:79::10")
    assert seen_from(guest, real.outside, "2001:db8::20") == "2001:db8::10"
    ip("route", "add", BOTH.subnet6, "via", "2001:db8::10", netns=real.outside)
    assert seen_from(real.outside, guest, "fd00:79::10", patience_s=1) == "TimeoutError"


async def test_an_ipv6_only_network_is_routed_in_both_directions(real: RealSite) -> None:
    await real.networks.ensure_network(SIX, "7")
    guest = real.guest(SIX, "fd00:77::10")
    ip("route", "add", SIX.subnet6, "via", "2001:db8::10", netns=real.outside)
    assert seen_from(real.outside, guest, "fd00:77::10") == "2001:db8::20"
    assert seen_from(guest, real.outside, "2001:db8::20") == "fd00:77::10"


async def test_a_machine_that_begins_to_forward_ipv6_goes_on_to_listen_to_its_router(real: RealSite) -> None:
    await real.networks.ensure_network(SIX, "7")
    heard = within(real.netns, "cat", "/proc/sys/net/ipv6/conf/uplink/accept_ra", "/proc/sys/net/ipv6/conf/cv-six/accept_ra")
    assert heard.split() == ["2", "0"]


async def test_nobody_outside_reaches_a_guest_behind_nat(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    ip("route", "add", LAN.subnet, "via", "192.0.2.10", netns=real.outside)
    assert seen_from(real.outside, guest, "10.77.0.10", patience_s=1) == "TimeoutError"


async def test_a_routed_network_is_reached_from_outside_by_its_own_addresses(real: RealSite) -> None:
    await real.networks.ensure_network(LAB, "7")
    guest = real.guest(LAB, "10.78.0.10")
    ip("route", "add", LAB.subnet, "via", "192.0.2.10", netns=real.outside)
    assert seen_from(real.outside, guest, "10.78.0.10") == "192.0.2.20"
    assert seen_from(guest, real.outside, "192.0.2.20") == "10.78.0.10"


async def test_guests_of_one_network_meet_and_those_of_two_do_not(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    await real.networks.ensure_network(LAB, "8")
    one, other, stranger = real.guest(LAN, "10.77.0.10"), real.guest(LAN, "10.77.0.11"), real.guest(LAB, "10.78.0.10")
    assert seen_from(one, other, "10.77.0.11") == "10.77.0.10"
    assert seen_from(one, stranger, "10.78.0.10", patience_s=1) == "TimeoutError"
    assert seen_from(stranger, one, "10.77.0.10", patience_s=1) == "TimeoutError"


async def test_a_port_that_the_owner_forwards_reaches_the_guest(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    chain = "add chain ip theirs pre { type nat hook prerouting priority dstnat; }"
    rule = "add rule ip theirs pre iifname uplink tcp dport 7777 dnat to 10.77.0.10"
    within(real.netns, "nft", f"add table ip theirs; {chain}; {rule}")
    assert seen_from(real.outside, guest, "10.77.0.10", by="192.0.2.10") == "192.0.2.20"


# Forwarded ports.


async def test_a_forwarded_port_reaches_the_guest_from_outside_and_another_does_not(real: RealSite) -> None:
    await real.networks.ensure_network(replace(LAN, entrances=(WEB,)), "7")
    guest = real.guest(LAN, "10.77.0.10")
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8080) == OUTSIDE
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8081) == "ConnectionRefusedError"
    await real.networks.ensure_network(LAN, "8")
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8080) == "ConnectionRefusedError"


async def test_a_forwarded_port_is_for_its_sources_only(real: RealSite) -> None:
    guest_of = replace(
        LAN, entrances=(replace(WEB, sources=("192.0.2.20/32",)), replace(WEB, port=8081, sources=("192.0.2.64/26",)))
    )
    await real.networks.ensure_network(guest_of, "7")
    guest = real.guest(LAN, "10.77.0.10")
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8080) == OUTSIDE
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8081) == "ConnectionRefusedError"


async def test_a_forwarded_port_is_reached_from_the_machine_and_from_guests_of_its_own_and_of_another_network(
    real: RealSite,
) -> None:
    await real.networks.ensure_network(replace(LAN, entrances=(WEB,)), "7")
    await real.networks.ensure_network(LAB, "8")
    guest, neighbour, stranger = real.guest(LAN, "10.77.0.10"), real.guest(LAN, "10.77.0.11"), real.guest(LAB, "10.78.0.10")
    assert seen_from(real.netns, guest, "10.77.0.10", by=MACHINE, port=8080) == MACHINE
    assert seen_from(neighbour, guest, "10.77.0.10", by=MACHINE, port=8080) == LAN.gateway
    assert seen_from(stranger, guest, "10.77.0.10", by=MACHINE, port=8080) == "10.78.0.10"
    assert seen_from(stranger, guest, "10.77.0.10", patience_s=1) == "TimeoutError", "nothing else leads in"


async def test_a_port_is_forwarded_by_ipv6_too(real: RealSite) -> None:
    both = Entrance("tcp", 8080, "10.79.0.10", "fd00:79::10", 7777, ())
    await real.networks.ensure_network(replace(BOTH, entrances=(both,)), "7")
    guest = real.guest(BOTH, "fd00:79::10")
    assert seen_from(real.outside, guest, "fd00:79::10", by="2001:db8::10", port=8080) == OUTSIDE6


# The machine itself.


async def test_guests_reach_nothing_of_the_machine_but_what_is_allowed(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    within(guest, "ping", "-c1", "-W2", LAN.gateway)
    for address in (LAN.gateway, MACHINE):
        assert seen_from(guest, real.netns, address, patience_s=1) == "TimeoutError"
    assert seen_from(real.netns, guest, "10.77.0.10") == LAN.gateway, "the machine reaches its guests"
    await real.networks.ensure_network(replace(LAN, host_ports=("tcp/7777",)), "8")
    assert seen_from(guest, real.netns, LAN.gateway) == "10.77.0.10"


async def test_a_name_server_on_the_machine_is_reached_when_guests_are_told_of_it(real: RealSite) -> None:
    redirect = "add table ip t; add chain ip t p { type nat hook prerouting priority dstnat; }; add rule ip t p tcp dport 53 redirect to 7777"
    within(real.netns, "nft", redirect)
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    assert seen_from(guest, real.netns, LAN.gateway, port=53, patience_s=1) == "TimeoutError"
    await real.networks.ensure_network(replace(LAN, dns=(LAN.gateway,)), "8")
    within(real.netns, "nft", "flush table ip t")
    assert "th dport 53 accept" in within(real.netns, "nft", "list", "ruleset")


async def test_guests_of_an_isolated_network_meet_each_other_and_nobody_else(real: RealSite) -> None:
    await real.networks.ensure_network(ISLE, "7")
    one, other = real.guest(ISLE, "10.77.0.10"), real.guest(ISLE, "10.77.0.11")
    assert seen_from(one, other, "10.77.0.11") == "10.77.0.10"
    ip("route", "add", "default", "via", ISLE.gateway, netns=one)
    ip("route", "add", ISLE.subnet, "via", MACHINE, netns=real.outside)
    assert seen_from(one, real.outside, OUTSIDE, patience_s=1) == "TimeoutError"
    assert seen_from(real.outside, one, "10.77.0.10", patience_s=1) == "TimeoutError"
    assert seen_from(one, real.netns, ISLE.gateway, patience_s=1) == "TimeoutError"


# Guests with addresses of the uplink's own subnet.


async def test_the_machine_answers_on_its_uplink_for_guests_by_either_family(real: RealSite) -> None:
    await real.networks.ensure_network(replace(PUBLIC, routes=()), "7")
    await real.networks.ensure_routed(PUBLIC, PUBLIC.routes)
    guest = real.guest(PUBLIC, "192.0.2.30")
    assert seen_from(real.outside, guest, "192.0.2.30") == OUTSIDE
    assert seen_from(guest, real.outside, OUTSIDE) == "192.0.2.30"
    guest6 = real.guest(PUBLIC, "2001:db8::30")
    assert seen_from(real.outside, guest6, "2001:db8::30") == OUTSIDE6
    assert seen_from(guest6, real.outside, OUTSIDE6) == "2001:db8::30"
    await real.networks.ensure_not_routed(PUBLIC, ("192.0.2.30",))
    ip("neigh", "flush", "all", netns=real.outside)
    assert seen_from(real.outside, guest, "192.0.2.30", patience_s=1) in ("TimeoutError", "OSError")


async def test_guests_of_a_subnet_led_here_have_a_gateway_outside_of_it(real: RealSite) -> None:
    led = replace(PUBLIC, subnet="203.0.113.0/29", uplink="", subnet6="", gateway6="", routes=("203.0.113.1", "203.0.113.6"))
    await real.networks.ensure_network(led, "7")
    one, other = real.guest(led, "203.0.113.1"), real.guest(led, "203.0.113.6")
    ip("route", "add", led.subnet, "via", MACHINE, netns=real.outside)
    assert seen_from(real.outside, one, "203.0.113.1") == OUTSIDE
    assert seen_from(one, other, "203.0.113.6") == "203.0.113.1", "by their gateway"


async def test_rules_and_ports_are_back_after_a_flush_and_a_lost_bridge(real: RealSite) -> None:
    network = replace(LAN, entrances=(WEB,))
    await real.networks.ensure_network(network, "7")
    guest = real.guest(LAN, "10.77.0.10")
    real.flush()
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8080) == "ConnectionRefusedError"
    port = f"vnet{len(real.namespaces)}"
    ip("link", "del", LAN.bridge, netns=real.netns)
    await real.networks.ensure_network(network, "8")
    await real.networks.ensure_joined(network, (port,))
    assert seen_from(real.outside, guest, "10.77.0.10", by=MACHINE, port=8080) == OUTSIDE
