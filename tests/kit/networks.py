"""Machines with networks: a pretended one, and a network namespace with guests that are namespaces, too."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from covey.host.network.bridge import HostNetworks
from covey.host.network.fake import FakeNetworks
from covey.host.network.protocol import Networks
from covey.host.shelf import MemoryShelf
from covey.model.network import Network

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
SIX = replace(
    LAN,
    id="5f3c1f0e-0000-4000-8000-000000000003",
    name="six",
    bridge="cv-six",
    subnet="",
    gateway="",
    pool=("", ""),
    nat=False,
    subnet6="fd00:77::/64",
    gateway6="fd00:77::1",
    pool6=("fd00:77::10", "fd00:77::99"),
)
BOTH = replace(
    LAN,
    id="5f3c1f0e-0000-4000-8000-000000000004",
    name="both",
    bridge="cv-both",
    subnet="10.79.0.0/24",
    gateway="10.79.0.1",
    subnet6="fd00:79::/64",
    gateway6="fd00:79::1",
    nat6=True,
)
ISLE = replace(LAN, id="5f3c1f0e-0000-4000-8000-000000000005", name="isle", bridge="cv-isle", nat=False, isolated=True, dns=())
SITE = replace(
    LAN, id="5f3c1f0e-0000-4000-8000-000000000006", name="site", bridge="br0", nat=False, adopted=True, gateway="10.77.0.254"
)
PUBLIC = Network(  # addresses of the uplink's own subnets, one by one
    id="5f3c1f0e-0000-4000-8000-000000000007",
    name="public",
    bridge="cv-public",
    subnet="192.0.2.0/24",
    gateway="169.254.1.1",
    pool=("192.0.2.30", "192.0.2.39"),
    nat=False,
    dns=(),
    created_at=0.0,
    subnet6="2001:db8::/64",
    gateway6="fd00:c07e::1",
    pool6=("2001:db8::30", "2001:db8::39"),
    uplink="uplink",
    routes=("192.0.2.30", "2001:db8::30"),
)
ALL = (LAN, LAB, SIX, BOTH, ISLE, PUBLIC)
UPLINK6 = "2001:db8::10/64"
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


def network_of(told: dict[str, Any]) -> Network:
    """The record behind what `covey network info --json` told, as far as a guest can see it."""
    nothing = ("", "")
    return Network(
        told["id"], told["name"], told["bridge"], told["subnet"], told["gateway"], nothing, told["nat"], (), 0.0,
        told["subnet6"], told["gateway6"], nothing, told["nat6"], False, told["type"] == "isolated", told["uplink"],
    )  # fmt: skip


class Site(Protocol):
    """A machine with networks, and the hands that disturb it."""

    @property
    def networks(self) -> Networks: ...
    def flush(self) -> None: ...
    def plug(self, network: Network, port: str) -> None: ...
    def unplug(self, network: Network) -> None: ...
    def lose_route(self, network: Network, address: str) -> None: ...


class FakeSite:
    def __init__(self) -> None:
        self.networks = FakeNetworks(MemoryShelf(), interfaces={"uplink": UPLINK, "br0": "198.51.100.1/24"})

    def flush(self) -> None:
        self.networks.flush_rules()

    def plug(self, network: Network, port: str) -> None:
        self.networks.plug(network, port)

    def unplug(self, network: Network) -> None:
        self.networks.unplug(network)

    def lose_route(self, network: Network, address: str) -> None:
        self.networks.lose_route(network, address)


class RealSite:
    """A network namespace in the role of the machine, our own or one that is there, with an uplink to another one, `outside`."""

    def __init__(self, netns: str = "") -> None:
        self.netns = netns or f"cvt{os.getpid()}-{next(numbers)}"
        self.outside = f"{self.netns}-outside"
        self.namespaces = [self.outside] if netns else [self.netns, self.outside]
        for netns in self.namespaces:
            ip("netns", "add", netns)
            ip("link", "set", "lo", "up", netns=netns)
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", self.outside, netns=self.netns)
        ip("addr", "add", UPLINK, "dev", "uplink", netns=self.netns)
        ip("addr", "add", UPLINK6, "dev", "uplink", "nodad", netns=self.netns)
        ip("link", "set", "uplink", "up", netns=self.netns)
        ip("addr", "add", "192.0.2.20/24", "dev", "eth0", netns=self.outside)
        ip("addr", "add", "2001:db8::20/64", "dev", "eth0", "nodad", netns=self.outside)
        ip("link", "set", "eth0", "up", netns=self.outside)
        ip("link", "add", "br0", "type", "bridge", netns=self.netns)
        ip("addr", "add", "198.51.100.1/24", "dev", "br0", netns=self.netns)
        ip("link", "set", "br0", "up", netns=self.netns)
        self.networks = HostNetworks(self.netns)

    def flush(self) -> None:
        within(self.netns, "nft", "flush", "ruleset")

    def plug(self, network: Network, port: str) -> None:
        ip("link", "add", port, "type", "veth", "peer", "name", f"{port}-peer", netns=self.netns)
        ip("link", "set", port, "master", network.bridge, netns=self.netns)

    def unplug(self, network: Network) -> None:
        for link in json.loads(ip("-j", "link", "show", "master", network.bridge, netns=self.netns)):
            ip("link", "del", link["ifname"], netns=self.netns)

    def lose_route(self, network: Network, address: str) -> None:
        ip("route", "del", address, "dev", network.bridge, netns=self.netns)

    def guest(self, network: Network, address: str) -> str:
        """A namespace on the network in the role of a guest, set up as its seed says; returns its name."""
        name = f"{self.netns}-g{len(self.namespaces)}"
        ip("netns", "add", name)
        self.namespaces.append(name)
        port = f"vnet{len(self.namespaces)}"
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name, netns=self.netns)
        ip("link", "set", port, "master", network.bridge, "up", netns=self.netns)
        family = network.family(6 if ":" in address else 4)
        assert family
        prefix = family.subnet.max_prefixlen if network.is_per_guest else family.subnet.prefixlen
        nodad = ("nodad",) if family.version == 6 else ()
        ip("addr", "add", f"{address}/{prefix}", "dev", "eth0", *nodad, netns=name)
        ip("link", "set", "lo", "up", netns=name)
        ip("link", "set", "eth0", "up", netns=name)
        if network.is_per_guest:
            ip("route", "add", family.gateway, "dev", "eth0", netns=name)
        if not network.isolated:
            ip("route", "add", "default", "via", family.gateway, "dev", "eth0", netns=name)
        return name

    def state(self) -> str:
        """All that `ensure` could have touched, with the rules' handles: rules made again have new ones. That the kernel has tried out an
        address of its own meanwhile is nobody's doing."""
        rules = within(self.netns, "nft", "-a", "list", "ruleset")
        addresses = ip("addr", netns=self.netns).replace(" tentative", "")
        return addresses + ip("route", netns=self.netns) + rules

    def remove(self) -> None:
        for netns in self.namespaces:
            ip("netns", "del", netns)


def root_state() -> str:
    """Names of interfaces, addresses and rules of the namespace the tests run in: networks must leave it as it is."""
    ruleset = subprocess.run(("nft", "list", "ruleset"), capture_output=True, text=True, check=True).stdout
    ours = [line for line in ruleset.splitlines() if any(network.id in line for network in ALL)]
    names = [link["ifname"] for link in json.loads(ip("-j", "link"))]
    links = [name for name in names if name in ("br0", *(network.bridge for network in ALL))]
    switches = [Path("/proc/sys/net", name).read_text() for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
    return repr((ours, links, switches))


@contextmanager
def a_real_site() -> Iterator[RealSite]:
    """A machine with an uplink; afterwards nothing of it is left."""
    before = root_state()
    site = RealSite()
    try:
        yield site
    finally:
        site.remove()
    assert root_state() == before
    assert site.netns not in ip("netns", "list")


ANSWER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
ASK = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[3])), timeout=float(sys.argv[2])).recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


@contextmanager
def answering(netns: str, address: str, port: int = 7777) -> Iterator[None]:
    """In the namespace, somebody listens there and tells each caller from which address he comes."""
    argv = ("nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", ANSWER, address, str(port))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def answer_to(asker: str, address: str, port: int = 7777, patience_s: float = 5) -> str:
    """What a caller in the namespace `asker` is told there, or the name of the error that he gets."""
    return within(asker, sys.executable, "-c", ASK, address, str(patience_s), str(port)).strip()


def seen_from(asker: str, server: str, address: str, patience_s: float = 5, by: str = "", port: int = 7777) -> str:
    """The address from which `server`, listening on port 7777 of `address`, sees a connection of `asker` come (who asks for `port` of
    `by`, if that is another address), or the name of the error that `asker` got."""
    with answering(server, address):
        return answer_to(asker, by or address, port, patience_s)
