"""Who is told where a guest is when it comes to a node: its neighbours, the switches on the way, and itself. Real namespaces."""

from __future__ import annotations

import json
import struct
import subprocess
from typing import Any

import pytest
from tests.kit import frames
from tests.kit.eventually import eventually
from tests.kit.networks import LAN, PUBLIC, SITE, SIX, RealSite, ip

from covey.host.network.announce import reversed_of, said_of
from covey.model.network import Arrival, Network

GUEST, WRONG = "02:c0:7e:00:00:01", "02:c0:7e:ff:ff:ff"
TAP = "cvtguest-0"
pytestmark = pytest.mark.real


def neighbour(netns: str, address: str) -> str:
    """The MAC address that a namespace has for an address."""
    found: list[dict[str, Any]] = json.loads(ip("-j", "neigh", "show", "to", address, netns=netns))
    return str(found[0]["lladdr"]) if found else ""


def believe(netns: str, address: str, interface: str = "eth0") -> None:
    """It knows the address from before, on another node."""
    ip("neigh", "replace", address, "lladdr", WRONG, "dev", interface, "nud", "stale", netns=netns)
    assert neighbour(netns, address) == WRONG


async def listens(netns: str, interface: str = "eth0") -> None:
    """An interface hears IPv6's groups a moment after it has come up."""

    def is_ready() -> bool:
        return "ff00::/8" in ip("-6", "route", "show", "table", "all", "dev", interface, netns=netns)

    await eventually(is_ready)


def mac_of(netns: str, interface: str) -> str:
    return str(json.loads(ip("-j", "link", "show", interface, netns=netns))[0]["address"])


def a_guest(site: RealSite, network: Network, address: str) -> str:
    """A guest whose interface is called as a guest's is."""
    name = site.guest(network, address)
    (port,) = [one["ifname"] for one in json.loads(ip("-j", "link", "show", "master", network.bridge, netns=site.netns))]
    ip("link", "set", port, "down", netns=site.netns)
    ip("link", "set", port, "name", TAP, netns=site.netns)
    ip("link", "set", TAP, "up", netns=site.netns)
    return name


@pytest.mark.parametrize("address", PUBLIC.routes)
async def test_neighbours_of_an_uplink_believe_the_node_that_answers_from_now_on(real: RealSite, address: str) -> None:
    await real.networks.ensure_network(PUBLIC, "7")
    await real.networks.ensure_not_routed(PUBLIC, PUBLIC.routes)
    await listens(real.outside)
    believe(real.outside, address)
    await real.networks.ensure_routed(PUBLIC, (address,))
    assert neighbour(real.outside, address) == mac_of(real.netns, "uplink")


@pytest.mark.parametrize("address", PUBLIC.routes)
async def test_they_are_told_again_when_the_guest_begins_to_run(real: RealSite, address: str) -> None:
    await real.networks.ensure_network(PUBLIC, "7")
    a_guest(real, PUBLIC, address)
    await listens(real.outside)
    believe(real.outside, address)
    await real.networks.announce((Arrival(TAP, GUEST, (address,)),))
    assert neighbour(real.outside, address) == mac_of(real.netns, "uplink")


@pytest.mark.parametrize(("network", "address"), [(LAN, "10.77.0.10"), (SIX, "fd00:77::10"), (PUBLIC, "192.0.2.30")], ids=str)
async def test_a_guest_believes_that_this_nodes_bridge_is_its_gateway(real: RealSite, network: Network, address: str) -> None:
    await real.networks.ensure_network(network, "7")
    guest = a_guest(real, network, address)
    gateway = network.gateway6 if ":" in address else network.gateway
    await listens(guest)
    believe(guest, gateway)
    await real.networks.announce((Arrival(TAP, GUEST, (address,)),))
    assert neighbour(guest, gateway) == mac_of(real.netns, network.bridge)


@pytest.mark.parametrize("addresses", [("198.51.100.7", "2001:db8:1::7"), ()], ids=["with addresses", "without"])
async def test_switches_learn_behind_which_port_the_guest_is(real: RealSite, addresses: tuple[str, ...]) -> None:
    """A switch outside of the node, at a bridge of the site's own."""
    ip("link", "add", "cable", "type", "veth", "peer", "name", "port7", "netns", real.outside, netns=real.netns)
    ip("link", "add", "switch", "type", "bridge", netns=real.outside)
    for netns, port, bridge in ((real.netns, "cable", "br0"), (real.outside, "port7", "switch")):
        ip("link", "set", port, "master", bridge, "up", netns=netns)
    ip("link", "set", "switch", "up", netns=real.outside)
    real.plug(SITE, TAP)
    ip("link", "set", TAP, "up", netns=real.netns)
    await real.networks.announce((Arrival(TAP, GUEST, addresses),))
    assert GUEST in learned(real.outside, "port7")
    assert GUEST not in learned(real.netns, "cable"), "the node's own bridge still knows it as a guest's"


def learned(netns: str, port: str) -> list[str]:
    told = subprocess.run(
        ("bridge", "-n", netns, "-j", "fdb", "show", "brport", port), capture_output=True, check=True, timeout=20
    )
    return [entry["mac"] for entry in json.loads(told.stdout)]


async def test_what_is_caught_on_the_wire_is_what_the_standards_say(real: RealSite) -> None:
    ip("link", "set", "uplink", "promisc", "on", netns=real.netns)
    with frames.wire(real.outside) as ear, frames.wire(real.netns, "uplink") as mouth:
        for frame in (said_of(GUEST, "192.0.2.30"), said_of(GUEST, "2001:db8::30"), reversed_of(GUEST)):
            mouth.send(frame)
            caught = await_frame(ear, GUEST)
            assert caught == frame
    assert said_of(GUEST, "192.0.2.30").startswith(frames.arp(GUEST, GUEST, "192.0.2.30", "192.0.2.30"))
    said = frames.icmp6(frames.NA, "2001:db8::30", "2001:db8::30", owner=GUEST)
    said = said[:4] + struct.pack("!I", frames.OVERRIDE) + said[8:]
    assert said_of(GUEST, "2001:db8::30") == frames.ip6(
        GUEST, "2001:db8::30", "ff02::1", frames.ICMP6, said, target="33:33:00:00:00:01"
    )


def await_frame(ear: Any, source: str) -> bytes:
    while True:
        caught: bytes = ear.recv(2000)
        if caught[6:12] == frames.mac(source):
            return caught
