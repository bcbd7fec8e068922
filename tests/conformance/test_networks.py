"""One suite for guests' networks: each sentence of host/network/protocol.py, of the fake and of the kernel."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from covey.base.errors import BadInput, Refused, Unavailable
from covey.host.network.bridge import HostNetworks
from covey.host.network.fake import FakeNetworks
from covey.host.network.protocol import Networks
from covey.host.shelf import MemoryShelf
from covey.model.network import FoundNetwork, Network

LAN = Network(
    id="5f3c1f0e-0000-4000-8000-000000000001",
    name="lan",
    bridge="cv-lan",
    subnet="10.77.0.0/24",
    gateway="10.77.0.1",
    pool=("10.77.0.10", "10.77.0.99"),
    nat=True,
    dns=("192.0.2.53",),
    created_at=0.0,
)
LAB = replace(
    LAN,
    id="5f3c1f0e-0000-4000-8000-000000000002",
    name="lab",
    bridge="cv-lab",
    subnet="10.78.0.0/24",
    gateway="10.78.0.1",
    pool=("10.78.0.10", "10.78.0.99"),
    nat=False,
)
UPLINK = "192.0.2.10/24"  # the machine's own address, on the interface uplink; br0 is a bridge that its owner made
numbers = itertools.count(1)


def ip(*arguments: str, netns: str = "") -> str:
    inside = ("-n", netns) if netns else ()
    done = subprocess.run(("ip", *inside, *arguments), check=True, capture_output=True, text=True, timeout=20)
    return done.stdout


def within(netns: str, *argv: str) -> str:
    """What a command prints inside a network namespace."""
    argv = ("nsenter", f"--net=/run/netns/{netns}", *argv)
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


class Site(Protocol):
    """A machine with networks, and the hands that disturb it."""

    @property
    def networks(self) -> Networks: ...
    def flush(self) -> None: ...
    def plug(self, network: Network, port: str) -> None: ...
    def unplug(self, network: Network) -> None: ...


class FakeSite:
    def __init__(self) -> None:
        self.networks = FakeNetworks(MemoryShelf(), interfaces={"uplink": UPLINK, "br0": "198.51.100.1/24"})

    def flush(self) -> None:
        self.networks.flush_rules()

    def plug(self, network: Network, port: str) -> None:
        self.networks.plug(network, port)

    def unplug(self, network: Network) -> None:
        self.networks.unplug(network)


class RealSite:
    """A network namespace of our own in the role of the machine, with an uplink to another one, `outside`."""

    def __init__(self) -> None:
        self.netns = f"cvt{os.getpid()}-{next(numbers)}"
        self.outside = f"{self.netns}-outside"
        self.namespaces = [self.netns, self.outside]
        for netns in self.namespaces:
            ip("netns", "add", netns)
            ip("link", "set", "lo", "up", netns=netns)
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", self.outside, netns=self.netns)
        ip("addr", "add", UPLINK, "dev", "uplink", netns=self.netns)
        ip("link", "set", "uplink", "up", netns=self.netns)
        ip("addr", "add", "192.0.2.20/24", "dev", "eth0", netns=self.outside)
        ip("link", "set", "eth0", "up", netns=self.outside)
        ip("link", "add", "br0", "type", "bridge", netns=self.netns)
        ip("addr", "add", "198.51.100.1/24", "dev", "br0", netns=self.netns)
        self.networks = HostNetworks(self.netns)

    def flush(self) -> None:
        within(self.netns, "nft", "flush", "ruleset")

    def plug(self, network: Network, port: str) -> None:
        ip("link", "add", port, "type", "veth", "peer", "name", f"{port}-peer", netns=self.netns)
        ip("link", "set", port, "master", network.bridge, netns=self.netns)

    def unplug(self, network: Network) -> None:
        for link in json.loads(ip("-j", "link", "show", "master", network.bridge, netns=self.netns)):
            ip("link", "del", link["ifname"], netns=self.netns)

    def guest(self, network: Network, address: str) -> str:
        """A namespace on the network in the role of a guest; returns its name."""
        name = f"{self.netns}-g{len(self.namespaces)}"
        ip("netns", "add", name)
        self.namespaces.append(name)
        port = f"vnet{len(self.namespaces)}"
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name, netns=self.netns)
        ip("link", "set", port, "master", network.bridge, "up", netns=self.netns)
        ip("addr", "add", f"{address}/24", "dev", "eth0", netns=name)
        ip("link", "set", "lo", "up", netns=name)
        ip("link", "set", "eth0", "up", netns=name)
        ip("route", "add", "default", "via", network.gateway, netns=name)
        return name

    def state(self) -> str:
        """All that `ensure` could have touched, with the rules' handles: rules made again have new ones."""
        rules = within(self.netns, "nft", "-a", "list", "ruleset")
        return ip("addr", netns=self.netns) + ip("route", netns=self.netns) + rules

    def remove(self) -> None:
        for netns in self.namespaces:
            ip("netns", "del", netns)


def root_state() -> str:
    """Names of interfaces, addresses and rules of the namespace the tests run in: networks must leave it as it is."""
    ruleset = subprocess.run(("nft", "list", "ruleset"), capture_output=True, text=True, check=True).stdout
    ours = [line for line in ruleset.splitlines() if LAN.id in line or LAB.id in line]
    names = [link["ifname"] for link in json.loads(ip("-j", "link"))]
    links = [name for name in names if name in (LAN.bridge, LAB.bridge, "br0")]
    return repr((ours, links, Path("/proc/sys/net/ipv4/ip_forward").read_text()))


@pytest.fixture
def real() -> Iterator[RealSite]:
    before = root_state()
    site = RealSite()
    try:
        yield site
    finally:
        site.remove()
    assert root_state() == before
    assert site.netns not in ip("netns", "list")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def site(request: pytest.FixtureRequest) -> Site:
    if request.param == "fake":
        return FakeSite()
    real: RealSite = request.getfixturevalue("real")
    return real


async def only(networks: Networks, *wanted: Network) -> FoundNetwork:
    (found,) = await networks.networks(wanted)
    return found


async def test_an_ensured_network_is_found_intact_with_its_tag(site: Site) -> None:
    await site.networks.ensure_network(LAN, "7")
    assert await only(site.networks, LAN) == FoundNetwork(LAN.id, "cv-lan", "7", intact=True)


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


# The story: guests behind a bridge, and somebody outside.

ANSWER = """
import socket, sys
server = socket.create_server((sys.argv[1], 7777))
server.settimeout(15)
print("ready", flush=True)
connection, peer = server.accept()
connection.sendall(peer[0].encode())
"""
ASK = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], 7777), timeout=float(sys.argv[2])).recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def seen_from(asker: str, server: str, address: str, patience_s: float = 5, by: str = "") -> str:
    """The address from which `server`, listening on `address`, sees a connection of `asker` come (who asks for `by`,
    if that is another address), or the name of the error that `asker` got."""
    argv = ("nsenter", f"--net=/run/netns/{server}", sys.executable, "-c", ANSWER, address)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as answering:
        try:
            assert answering.stdout is not None and answering.stdout.readline() == "ready\n"
            return within(asker, sys.executable, "-c", ASK, by or address, str(patience_s)).strip()
        finally:
            answering.kill()


@pytest.mark.real
async def test_a_guest_behind_nat_reaches_the_outside_by_the_machines_address(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    assert seen_from(guest, real.outside, "192.0.2.20") == "192.0.2.10"


@pytest.mark.real
async def test_nobody_outside_reaches_a_guest_behind_nat(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    ip("route", "add", LAN.subnet, "via", "192.0.2.10", netns=real.outside)
    assert seen_from(real.outside, guest, "10.77.0.10", patience_s=1) == "TimeoutError"


@pytest.mark.real
async def test_a_routed_network_is_reached_from_outside_by_its_own_addresses(real: RealSite) -> None:
    await real.networks.ensure_network(LAB, "7")
    guest = real.guest(LAB, "10.78.0.10")
    ip("route", "add", LAB.subnet, "via", "192.0.2.10", netns=real.outside)
    assert seen_from(real.outside, guest, "10.78.0.10") == "192.0.2.20"
    assert seen_from(guest, real.outside, "192.0.2.20") == "10.78.0.10"


@pytest.mark.real
async def test_guests_of_one_network_meet_and_those_of_two_do_not(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    await real.networks.ensure_network(LAB, "8")
    one, other, stranger = real.guest(LAN, "10.77.0.10"), real.guest(LAN, "10.77.0.11"), real.guest(LAB, "10.78.0.10")
    assert seen_from(one, other, "10.77.0.11") == "10.77.0.10"
    assert seen_from(one, stranger, "10.78.0.10", patience_s=1) == "TimeoutError"
    assert seen_from(stranger, one, "10.77.0.10", patience_s=1) == "TimeoutError"


@pytest.mark.real
async def test_a_port_that_the_owner_forwards_reaches_the_guest(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    guest = real.guest(LAN, "10.77.0.10")
    chain = "add chain ip theirs pre { type nat hook prerouting priority dstnat; }"
    rule = "add rule ip theirs pre iifname uplink tcp dport 7777 dnat to 10.77.0.10"
    within(real.netns, "nft", f"add table ip theirs; {chain}; {rule}")
    assert seen_from(real.outside, guest, "10.77.0.10", by="192.0.2.10") == "192.0.2.20"


@pytest.mark.real
async def test_a_guest_reaches_its_gateway(real: RealSite) -> None:
    await real.networks.ensure_network(LAN, "7")
    assert seen_from(real.guest(LAN, "10.77.0.10"), real.netns, LAN.gateway) == "10.77.0.10"
