"""One suite for filters: each sentence of host/filter/protocol.py, of the fake and of nftables; and, frame by frame, what gets through.

In the role of a tap stands one end of a veth, in a network namespace in the role of the machine; the guest is the other end, in a
namespace of its own, from which frames are sent as no kernel would send them."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from covey.base.errors import BadInput, NotFound, Refused
from covey.host.filter.fake import FakeFilters
from covey.host.filter.host import HostFilters
from covey.host.filter.protocol import Filters
from covey.host.shelf import MemoryShelf
from covey.model.domain import tap_of
from covey.model.filter import Filter, Rule, digest_of_filters, digest_of_rules
from tests.kit.frames import (
    ACK,
    FIN,
    FRAGMENT,
    ICMP,
    ICMP6,
    NA,
    SYN,
    TCP,
    UDP,
    arp,
    fragments,
    icmp6,
    ip4,
    ip6,
    tcp,
    udp,
    untagged,
    wire,
)
from tests.kit.pretence import Station, in_pieces, proper, spoofed

WEB, DB = "5f3c1f0e-0000-4000-8000-000000000001", "5f3c1f0e-0000-4000-8000-000000000002"
OPEN, SHUT = "5f3c1f0e-0000-4000-8000-00000000000a", "5f3c1f0e-0000-4000-8000-00000000000b"
GATEWAY, GATEWAY6 = "10.77.0.1", "fd77::1"
WEB_MAC, WEB_IP, WEB_IP6 = "02:c0:7e:00:00:11", "10.77.0.11", "fd77::11"
DB_MAC, DB_IP, DB_IP6 = "02:c0:7e:00:00:12", "10.77.0.12", "fd77::12"
OTHER_MAC = "02:c0:7e:00:00:99"
OF_WEB = Filter(0, WEB_MAC, (WEB_IP, WEB_IP6), (GATEWAY, GATEWAY6))
OF_DB = Filter(0, DB_MAC, (DB_IP, DB_IP6), (GATEWAY, GATEWAY6))
SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it
numbers = itertools.count(1)


def sh(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


class Site(Protocol):
    """A machine with filters, and the hand that disturbs it."""

    @property
    def filters(self) -> Filters: ...
    def flush(self) -> None: ...
    def another(self) -> Filters: ...


class FakeSite:
    def __init__(self) -> None:
        self._shelf = MemoryShelf()
        self.filters = FakeFilters(self._shelf)

    def flush(self) -> None:
        self.filters.flush()

    def another(self) -> Filters:
        return FakeFilters(self._shelf)


class RealSite:
    """A machine with a bridge and the guests WEB and DB on it, behind interfaces of the names that their taps would have."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.netns = f"cvtf{os.getpid()}-{next(numbers)}"
        self.guests = {WEB: f"{self.netns}-web", DB: f"{self.netns}-db"}
        for netns in (self.netns, *self.guests.values()):
            sh("ip", "netns", "add", netns)
        sh("ip", "-n", self.netns, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        sh("ip", "-n", self.netns, "link", "set", "br0", "up")
        sh("ip", "-n", self.netns, "addr", "add", f"{GATEWAY}/24", "dev", "br0")
        for (instance, netns), mac in zip(self.guests.items(), (WEB_MAC, DB_MAC), strict=True):
            tap = tap_of(instance, 0)
            sh("ip", "-n", self.netns, "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", netns)
            sh("ip", "-n", netns, "link", "set", "eth0", "address", mac, "up")
            sh("nsenter", f"--net=/run/netns/{netns}", "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
            sh("ip", "-n", self.netns, "link", "set", tap, "master", "br0", "up")
        self.filters = HostFilters(directory, "n1", self.netns)
        self.wires = {instance: wire(netns) for instance, netns in self.guests.items()}

    def flush(self) -> None:
        sh("nsenter", f"--net=/run/netns/{self.netns}", "nft", "flush", "ruleset")

    def another(self) -> Filters:
        return HostFilters(self.directory, "n1", self.netns)

    def passes(self, frame: bytes, sender: str = WEB) -> bool:
        """Whether a frame comes out at the other guest: it is followed by one that everybody may send, and what has not come before
        that does not come."""
        receiver = DB if sender == WEB else WEB
        mac, address = {WEB: (WEB_MAC, WEB_IP), DB: (DB_MAC, DB_IP)}[sender]
        last = arp(mac, mac, address, f"10.77.0.{next(numbers) % 200 + 20}")
        self.wires[sender].send(frame)
        self.wires[sender].send(last)
        came = []
        while (one := self.wires[receiver].recv(4096)) != last:
            came.append(one)
        return untagged(frame) in came

    def remove(self) -> None:
        for one in self.wires.values():
            one.close()
        for netns in (*self.guests.values(), self.netns):
            sh("ip", "netns", "del", netns)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealSite]:
    site = RealSite(tmp_path / "filters")
    yield site
    site.remove()


@pytest.fixture(params=["fake", pytest.param("nft", marks=pytest.mark.real)])
def site(request: pytest.FixtureRequest) -> Site:
    one: Site = FakeSite() if request.param == "fake" else request.getfixturevalue("real")
    return one


# --- what both do -----------------------------------------------------------------------------------------------------------------------
async def test_filtering_twice_is_filtering_once_and_none_leaves_nothing(site: Site) -> None:
    for _ in range(2):
        await site.filters.ensure_filtered(WEB, (OF_WEB,), "job-1")
        found = await site.filters.filters()
        assert (found.instances, found.why) == ({WEB: digest_of_filters((OF_WEB,))}, "")
    changed = (replace(OF_WEB, addresses=(), limit_in=10**6), replace(OF_DB, index=3, limit_out=1))
    await site.filters.ensure_filtered(WEB, changed, "job-2")
    found = await site.filters.filters()
    assert (found.instances, found.why) == ({WEB: digest_of_filters(changed)}, "")
    for _ in range(2):
        await site.filters.ensure_filtered(WEB, (), "job-3")
        found = await site.filters.filters()
        assert (found.instances, found.why) == ({}, "")


async def test_a_firewall_comes_changes_and_goes(site: Site) -> None:
    rules = (Rule("in", "tcp", "80,443,8000-8100"), Rule("in", "icmp"), Rule("in", "any", "", f"firewall:{SHUT}"))
    await site.filters.ensure_firewall(SHUT, (), "job-1")
    await site.filters.ensure_firewall(OPEN, rules, "job-1")
    await site.filters.ensure_filtered(WEB, (replace(OF_WEB, firewalls=(OPEN, SHUT)),), "job-1")
    for changed in (rules, (*rules, Rule("out", "udp", "53", "10.0.0.0/8"), Rule("out", "tcp", "", "fd00::/8")), ()):
        await site.filters.ensure_firewall(OPEN, changed, "job-2")
        found = await site.filters.filters()
        assert (found.firewalls[OPEN], found.why) == (digest_of_rules(changed), "")
    with pytest.raises(Refused, match=WEB):
        await site.filters.ensure_firewall_absent(OPEN)
    await site.filters.ensure_filtered(WEB, (OF_WEB,), "job-3")
    await site.filters.ensure_firewall_absent(OPEN, "job-2")
    assert OPEN in (await site.filters.filters()).firewalls, "another job's"
    for _ in range(2):
        await site.filters.ensure_firewall_absent(OPEN, "job-1")
    assert (await site.filters.filters()).firewalls == {SHUT: digest_of_rules(())}


async def test_a_firewall_that_is_not_here_is_not_found(site: Site) -> None:
    with pytest.raises(NotFound):
        await site.filters.ensure_filtered(WEB, (replace(OF_WEB, firewalls=(OPEN,)),), "job-1")


async def test_rules_that_were_flushed_are_missed_and_made_again(site: Site) -> None:
    await site.filters.ensure_firewall(OPEN, (Rule("in", "tcp", "80"),), "job-1")
    await site.filters.ensure_filtered(WEB, (replace(OF_WEB, firewalls=(OPEN,)),), "job-1")
    site.flush()
    assert "gone" in (await site.filters.filters()).why
    assert "gone" in await site.another().ensure_intact()
    assert (await site.filters.filters()).why == ""
    assert await site.filters.ensure_intact() == ""


async def test_what_is_kept_outlives_the_driver(site: Site) -> None:
    await site.filters.ensure_firewall(OPEN, (Rule("in", "tcp", "80"),), "job-1")
    await site.filters.ensure_filtered(WEB, (OF_WEB,), "job-1")
    assert await site.another().filters() == await site.filters.filters()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(OF_WEB, mac="02:c0:7e:00:00:1g"),
        replace(OF_WEB, addresses=("10.77.0.1; drop",)),
        replace(OF_WEB, gateways=("fe80::1%eth0",)),
        replace(OF_WEB, addresses=("::/0",)),
        replace(OF_WEB, index=8),
        replace(OF_WEB, limit_in=-1),
        replace(OF_WEB, firewalls=("all",)),
        replace(OF_WEB, rules=(Rule("through"),)),
        replace(OF_WEB, rules=(Rule("in", "sctp"),)),
        replace(OF_WEB, rules=(Rule("in", "tcp", "80 }"),)),
        replace(OF_WEB, rules=(Rule("in", "tcp", "80", "10.77.0.0/8"),)),
        replace(OF_WEB, rules=(Rule("in", "tcp", "80", "firewall:web"),)),
    ],
)
async def test_nothing_gets_into_a_rule_that_is_not_what_it_should_be(site: Site, wrong: Filter) -> None:
    with pytest.raises(BadInput):
        await site.filters.ensure_filtered(WEB, (wrong,), "job-1")
    assert (await site.filters.filters()).instances == {}


# --- what gets through ------------------------------------------------------------------------------------------------------------------
SPOOFED = spoofed(
    Station(WEB_MAC, WEB_IP, WEB_IP6),
    Station(DB_MAC, DB_IP, DB_IP6),
    Station("02:c0:7e:00:00:01", GATEWAY, GATEWAY6),
    Station(OTHER_MAC, "10.77.0.13", "fd77::13"),
)
IN_PIECES = in_pieces(Station(WEB_MAC, WEB_IP, WEB_IP6), Station(DB_MAC, DB_IP, DB_IP6))
PROPER = proper(Station(WEB_MAC, WEB_IP, WEB_IP6), Station(DB_MAC, DB_IP, DB_IP6))


@pytest.mark.real
async def test_a_guest_sends_as_itself_and_as_nobody_else(real: RealSite) -> None:
    for frame in (*SPOOFED.values(), *PROPER.values()):
        assert real.passes(frame), "without a filter everything passes, or this proves nothing"
    await real.filters.ensure_filtered(WEB, (OF_WEB,), "job-1")
    await real.filters.ensure_filtered(DB, (OF_DB,), "job-1")
    assert [what for what, frame in SPOOFED.items() if real.passes(frame)] == []
    assert [what for what, frame in PROPER.items() if not real.passes(frame)] == []
    real.flush()
    assert real.passes(SPOOFED["another MAC address"])
    await real.another().ensure_intact()
    assert [what for what, frame in SPOOFED.items() if real.passes(frame)] == []


@pytest.mark.real
async def test_no_message_hides_in_the_second_of_two_fragments(real: RealSite) -> None:
    for first, _ in IN_PIECES.values():
        assert real.passes(first), "without a filter everything passes, or this proves nothing"
    await real.filters.ensure_filtered(WEB, (OF_WEB,), "job-1")
    assert [what for what, (first, _) in IN_PIECES.items() if real.passes(first)] == []
    for datagram in fragments(UDP, udp(1000, 2000, bytes(16)), 16):
        assert real.passes(ip6(WEB_MAC, WEB_IP6, DB_IP6, FRAGMENT, datagram)), "others may come in pieces"


@pytest.mark.real
async def test_a_guest_that_may_route_sends_as_anybody(real: RealSite) -> None:
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, guarded=False),), "job-1")
    assert [what for what, frame in SPOOFED.items() if not real.passes(frame)] == []


@pytest.mark.real
async def test_further_addresses_are_its_own_too(real: RealSite) -> None:
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, addresses=(WEB_IP, "10.77.0.13", "fd77:1::/64")),), "job-1")
    assert real.passes(SPOOFED["another IPv4 address"])
    assert real.passes(arp(WEB_MAC, WEB_MAC, "10.77.0.13", DB_IP, answer=True))
    assert real.passes(ip6(WEB_MAC, "fd77:1::5", "ff02::1", ICMP6, icmp6(NA, "fd77:1::5", "fd77:1::5")))
    assert not real.passes(ip6(WEB_MAC, "fd77:1::5", "ff02::1", ICMP6, icmp6(NA, "fd77:2::5", "fd77:1::5")))
    assert not real.passes(SPOOFED["the gateway's IPv4 address"])


@pytest.mark.real
async def test_a_guest_without_an_address_of_ours_uses_any_but_the_gateways(real: RealSite) -> None:
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, addresses=()),), "job-1")
    assert real.passes(SPOOFED["another IPv4 address"])
    assert real.passes(SPOOFED["another IPv6 address"])
    for what in (
        "the gateway's IPv4 address",
        "an ARP answer for another's address",
        "another MAC address",
        "a router's advertisement",
    ):
        assert not real.passes(SPOOFED[what]), what
    assert not real.passes(ip6(WEB_MAC, "fd77::9", "ff02::1", ICMP6, icmp6(NA, GATEWAY6, "fd77::9")))


def to_web(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    return ip4(DB_MAC, DB_IP, WEB_IP, protocol, payload, fragment)


def to_db(protocol: int, payload: bytes) -> bytes:
    return ip4(WEB_MAC, WEB_IP, DB_IP, protocol, payload)


@pytest.mark.real
async def test_with_a_firewall_only_what_it_allows_comes_in_and_what_answers(real: RealSite) -> None:
    await real.filters.ensure_firewall(
        OPEN, (Rule("in", "tcp", "80,8000-8100"), Rule("in", "udp", "53", "10.77.0.0/29")), "job-1"
    )
    await real.filters.ensure_filtered(DB, (OF_DB,), "job-1")
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, firewalls=(OPEN,)),), "job-1")
    for port, comes in ((80, True), (8050, True), (81, False), (22, False)):
        assert real.passes(to_web(TCP, tcp(1000, port)), DB) is comes, port
        assert real.passes(to_web(TCP, tcp(1000, port, SYN | FIN)), DB) is comes, port
    assert real.passes(to_web(TCP, tcp(22, 40000, SYN | ACK)), DB), "it may have been asked for"
    assert not real.passes(to_web(UDP, udp(53, 5353)), DB)
    assert real.passes(to_db(UDP, udp(5353, 53)))
    assert real.passes(to_web(UDP, udp(53, 5353)), DB), "it answers what was asked"
    assert not real.passes(to_web(UDP, udp(53, 5354)), DB)
    assert not real.passes(to_web(UDP, udp(5353, 53)), DB), "not from that network"
    assert not real.passes(to_web(ICMP, b"\x08\0\0\0"), DB)
    assert real.passes(to_web(ICMP, b"\x00\0\0\0"), DB)
    assert real.passes(to_web(UDP, b"rest of a datagram", fragment=185), DB)
    assert real.passes(to_web(TCP, b"rest of a segment", fragment=185), DB)
    assert not real.passes(to_web(TCP, tcp(1000, 22)[8:], fragment=1), DB), "over the head of one that opened nothing"
    assert real.passes(to_db(TCP, tcp(1000, 22)))
    await real.filters.ensure_firewall(OPEN, (Rule("in", "icmp"),), "job-2")
    assert real.passes(to_web(ICMP, b"\x08\0\0\0"), DB)
    assert not real.passes(to_web(TCP, tcp(1000, 80)), DB), "a changed firewall holds at once"
    await real.filters.ensure_firewall(OPEN, (Rule("in", "icmp"), Rule("out", "tcp", "443")), "job-2")
    assert not real.passes(to_db(TCP, tcp(1000, 22))), "with a rule for the way out, that is closed too"
    assert real.passes(to_db(TCP, tcp(1000, 443)))
    assert real.passes(to_db(TCP, tcp(22, 1000, SYN | ACK)))
    assert not real.passes(to_db(UDP, udp(5000, 53)))
    assert real.passes(to_db(UDP, udp(5353, 53))), "a conversation that is under way goes on"


@pytest.mark.real
async def test_a_firewall_lets_in_those_that_have_another_one(real: RealSite) -> None:
    await real.filters.ensure_firewall(SHUT, (), "job-1")
    await real.filters.ensure_filtered(DB, (OF_DB,), "job-1")
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, rules=(Rule("in", "tcp", "5432", f"firewall:{SHUT}"),)),), "job-1")
    asks, asks6 = to_web(TCP, tcp(1000, 5432)), ip6(DB_MAC, DB_IP6, WEB_IP6, TCP, tcp(1000, 5432))
    assert not real.passes(asks, DB)
    await real.filters.ensure_filtered(DB, (replace(OF_DB, firewalls=(SHUT,)),), "job-2")
    assert real.passes(asks, DB)
    assert real.passes(asks6, DB)
    assert not real.passes(to_web(TCP, tcp(1000, 22)), DB)
    await real.filters.ensure_filtered(DB, (OF_DB,), "job-3")
    assert not real.passes(asks, DB)


def burst(real: RealSite, sender: str, count: int = 1000) -> int:
    """How many of so many full frames sent at once come out at the other guest."""
    receiver = DB if sender == WEB else WEB
    frame = (to_db if sender == WEB else to_web)(UDP, udp(1000, 2000, bytes(1400)))
    real.wires[receiver].setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 2**24)
    for _ in range(count):
        real.wires[sender].send(frame)
    came = 0
    real.wires[receiver].settimeout(0.2)
    try:
        while True:
            came += real.wires[receiver].recv(4096) == frame
    except TimeoutError:
        real.wires[receiver].settimeout(5)
    return came


@pytest.mark.real
async def test_a_limit_holds_for_its_way_only(real: RealSite) -> None:
    assert (burst(real, WEB), burst(real, DB)) == (1000, 1000)
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, limit_out=8000),), "job-1")
    assert 150 < burst(real, WEB) < 400, "about the 256 KiB that may come at once"
    assert burst(real, DB) == 1000
    await real.filters.ensure_filtered(WEB, (replace(OF_WEB, limit_in=8000),), "job-1")
    assert 150 < burst(real, DB) < 400
    assert burst(real, WEB) == 1000


@pytest.mark.real
async def test_rules_changed_by_hand_are_found_by_name(real: RealSite) -> None:
    await real.filters.ensure_filtered(WEB, (OF_WEB,), "job-1")
    table = "covey-nics-n1"
    for change, found in (
        (("flush", "chain", "bridge", table, f"from-{tap_of(WEB, 0)}"), f"chain from-{tap_of(WEB, 0)} changed"),
        (("add", "chain", "bridge", table, "mine"), "chain mine not of Covey's making"),
        (("delete", "element", "bridge", table, "from", f'{{ "{tap_of(WEB, 0)}" }}'), "map from changed"),
        (("insert", "rule", "bridge", table, "from-guests", "accept"), "chain from-guests changed"),
    ):
        sh("nsenter", f"--net=/run/netns/{real.netns}", "nft", *change)
        assert (await real.filters.filters()).why == found
        assert await real.filters.ensure_intact() == found
        assert (await real.filters.filters()).why == ""
