"""A real Linux on a network of Covey's, by the command line alone: what it can reach, who can reach it, and as whom it can send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.frames import arp, untagged, wire
from tests.kit.networks import RealSite, answer_to, answering, ip, network_of, within
from tests.kit.pretence import Station, in_pieces, proper, spoofed
from tests.kit.shell import Shell, add_micro

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]  # it boots by emulation
MACHINE, OUTSIDE, OUTSIDE6 = "192.0.2.10", "192.0.2.20", "2001:db8::20"
GATEWAY = Station("", "10.79.0.1", "fd00:79::1")
NEIGHBOUR = Station("02:c0:7e:00:00:77", "10.79.0.77", "fd00:79::77")
NOBODY = Station("02:c0:7e:00:00:99", "10.79.0.99", "fd00:79::99")
LAST = "10.79.0.250"  # asked for when all has been sent
CLOSED = "TimeoutError"
GREETING = "welcome"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


@pytest.fixture(scope="module")
def site(covey: CoveyUp) -> Iterator[RealSite]:
    site = RealSite(covey.netns)
    yield site
    site.remove()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(covey: CoveyUp, site: RealSite) -> Shell:
    """A Linux with addresses of both families, which answers with GREETING at the ports 80 and 81."""
    await add_micro(covey)
    await covey.do("network add both --subnet 10.79.0.0/24 --subnet6 fd00:79::/64 --nat6")
    await covey.do("instance add web1 --iso micro --memory 160M --network both")
    guest = Shell(covey, "web1")
    await guest.is_up()
    await guest.configure()
    await guest.run(f"printf '#!/bin/sh\\necho {GREETING}\\n' > /bin/greet; chmod +x /bin/greet")
    for port in (80, 81):
        await guest.run(f"nc -ll -p {port} -e greet < /dev/null > /dev/null 2>&1 &")
    return guest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def me(covey: CoveyUp, guest: Shell) -> Station:
    nic = (await covey.instance(guest.name))["nics"][0]
    return Station(nic["mac"], nic["address"], nic["address6"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour(covey: CoveyUp, site: RealSite, guest: Shell) -> str:
    """A namespace on the guest's network that believes what it is told, as machines do."""
    name = site.guest(network_of(await covey.json("network info both")), NEIGHBOUR.ip)
    ip("link", "set", "eth0", "address", NEIGHBOUR.mac, netns=name)
    ip("addr", "add", f"{NEIGHBOUR.ip6}/64", "dev", "eth0", "nodad", netns=name)
    return name


async def heard(guest: Shell, me: Station, neighbour: str, claims: dict[str, bytes], interface: str = "eth0") -> list[str]:
    """The claims that the neighbour hears of those that the guest sends. The last frame is one that every guest may send: what has not
    come before that does not come."""
    last = arp(me.mac, me.mac, me.ip, LAST)
    wanted = {untagged(frame): claim for claim, frame in claims.items()}
    came = []
    with wire(neighbour) as listening:
        await guest.run(f"send-frames {interface} {' '.join(frame.hex() for frame in (*claims.values(), last))}")
        while (frame := listening.recv(4096)) != last:
            came.append(wanted.get(frame, ""))
    return [claim for claim in came if claim]


async def test_a_guest_reaches_the_outside_and_its_neighbours_by_both_families(
    guest: Shell, me: Station, neighbour: str, site: RealSite
) -> None:
    for address, source in ((OUTSIDE, MACHINE), (OUTSIDE6, "2001:db8::10")):
        with answering(site.outside, address):
            assert await guest.run(f"nc -w 5 {address} 7777") == source, "it is seen as its node"
    for address, source in ((NEIGHBOUR.ip, me.ip), (NEIGHBOUR.ip6, me.ip6)):
        with answering(neighbour, address):
            assert await guest.run(f"nc -w 5 {address} 7777") == source


async def test_a_guest_reaches_of_its_node_ping_and_what_is_allowed(covey: CoveyUp, guest: Shell) -> None:
    for address in (GATEWAY.ip, GATEWAY.ip6, MACHINE):
        with answering(covey.netns, address):
            await guest.run(f"ping -c 1 -W 5 {address}")
            assert not await guest.succeeds(f"nc -w 1 {address} 7777")
    await covey.do("network modify both --allow-host tcp/7777")
    with answering(covey.netns, GATEWAY.ip):
        await guest.run(f"nc -w 5 {GATEWAY.ip} 7777")
    await covey.do("network modify both --deny-host tcp/7777")


async def test_a_forwarded_port_is_reached_from_outside_and_no_other(covey: CoveyUp, guest: Shell, site: RealSite) -> None:
    await covey.do(f"forward add tcp/8080 {guest.name}:80")
    assert answer_to(site.outside, MACHINE, 8080) == GREETING
    assert answer_to(site.outside, MACHINE, 81) == "ConnectionRefusedError", "nothing leads from there to the guest"
    ip("route", "add", "10.79.0.0/24", "via", MACHINE, netns=site.outside)
    address = (await covey.instance(guest.name))["addresses"][0]
    assert answer_to(site.outside, address, 80, patience_s=1) == CLOSED, "not by the guest's own address either"


async def test_a_port_that_no_rule_allows_is_blocked_and_those_allowed_are_not(
    covey: CoveyUp, guest: Shell, me: Station, neighbour: str, site: RealSite
) -> None:
    for address in (me.ip, me.ip6):
        assert [answer_to(neighbour, address, port) for port in (80, 81)] == [GREETING, GREETING]
    await covey.do(f"nic modify {guest.name} 0", "--rule", "in tcp 80")
    for address in (me.ip, me.ip6):
        assert answer_to(neighbour, address, 80) == GREETING
        assert answer_to(neighbour, address, 81, patience_s=1) == CLOSED
    assert answer_to(site.outside, MACHINE, 8080) == GREETING
    await covey.do(f"nic modify {guest.name} 0", "--rule", "in tcp 81")
    assert answer_to(site.outside, MACHINE, 8080, patience_s=1) == CLOSED, "a forward opens no firewall"
    with answering(site.outside, OUTSIDE):
        assert await guest.run(f"nc -w 5 {OUTSIDE} 7777") == MACHINE, "answers come in"
    await covey.do(f"nic modify {guest.name} 0 --no-rule")
    assert answer_to(site.outside, MACHINE, 8080) == GREETING


async def test_a_guest_sends_as_itself_and_as_nobody_else_unless_it_is_allowed_to(
    covey: CoveyUp, guest: Shell, me: Station, neighbour: str
) -> None:
    false, true = spoofed(me, NEIGHBOUR, GATEWAY, NOBODY), proper(me, NEIGHBOUR)
    within(neighbour, "ping", "-c", "1", "-W", "5", GATEWAY.ip)
    gateway = mac_of(neighbour, GATEWAY.ip)
    assert await heard(guest, me, neighbour, true) == list(true)
    assert await heard(guest, me, neighbour, false) == []
    assert (mac_of(neighbour, GATEWAY.ip), routers(neighbour)) == (gateway, [])
    await covey.do(f"nic modify {guest.name} 0 --spoofing allow")
    assert set(await heard(guest, me, neighbour, false)) == set(false)
    assert (mac_of(neighbour, GATEWAY.ip), routers(neighbour)) == (me.mac, ["fe80::1"]), "the harm that it would have done"
    await covey.do(f"nic modify {guest.name} 0 --spoofing deny")
    assert await heard(guest, me, neighbour, false) == []


async def test_no_fragments_make_up_what_a_guest_may_not_send(guest: Shell, me: Station, neighbour: str) -> None:
    parts = [part for both in in_pieces(me, GATEWAY).values() for part in both]
    within(neighbour, "ping", "-c", "1", "-W", "5", GATEWAY.ip6)
    gateway = mac_of(neighbour, GATEWAY.ip6)
    ip("-6", "route", "flush", "proto", "ra", netns=neighbour)
    await heard(guest, me, neighbour, {str(number): part for number, part in enumerate(parts)})
    assert (mac_of(neighbour, GATEWAY.ip6), routers(neighbour)) == (gateway, [])


async def test_a_nic_that_is_plugged_in_sends_as_itself_from_the_first(covey: CoveyUp, guest: Shell, neighbour: str) -> None:
    await covey.do(f"nic add {guest.name} --network both")
    nic = (await covey.instance(guest.name))["nics"][1]
    me = Station(nic["mac"], nic["address"], nic["address6"])
    await guest.run("ip link set eth1 up")
    assert await heard(guest, me, neighbour, spoofed(me, NEIGHBOUR, GATEWAY, NOBODY), "eth1") == []
    await covey.do(f"nic remove {guest.name} 1 --yes")


async def test_a_guest_that_changes_its_own_addresses_is_alone(guest: Shell, me: Station, neighbour: str) -> None:
    asks = f"ping -c 1 -W 2 {NEIGHBOUR.ip}"
    ip("neigh", "flush", "all", netns=neighbour)  # what it was made to believe while spoofing was allowed
    await guest.run(f"ip neigh flush dev eth0; {asks}")
    await guest.run(f"ip addr add {NOBODY.ip}/24 dev eth0")
    assert not await guest.succeeds(f"ping -c 1 -W 1 -I {NOBODY.ip} {NEIGHBOUR.ip}")
    await guest.run(f"ip addr del {NOBODY.ip}/24 dev eth0; {asks}")
    await guest.run(f"ip link set eth0 address {NOBODY.mac}")
    assert not await guest.succeeds(asks)
    await guest.run(f"ip link set eth0 address {me.mac}; {asks}")


def mac_of(netns: str, address: str) -> str:
    """Whom a machine takes for the owner of an address."""
    words = ip("neigh", "show", address, netns=netns).split()
    return words[words.index("lladdr") + 1]


def routers(netns: str) -> list[str]:
    """The routers that a machine believes in because of an advertisement."""
    return [line.split()[2] for line in ip("-6", "route", "show", "default", "proto", "ra", netns=netns).splitlines()]
