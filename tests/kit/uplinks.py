"""A machine with one network card, and the LAN that it is on: two network namespaces and a veth pair between them. The machine has
/etc/network and networkd's folders of its own, in a mount namespace."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyroute2.netns import setns

from tests.kit.covey_up import COVEY

PING_EVERY_S = 0.05
INTERFACES = """\
# what the installer wrote
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 10.66.0.5/24
    gateway 10.66.0.1
    mtu 1400
    up ip route add 10.99.0.0/16 via 10.66.0.9 dev eth0
    up ip route add 10.98.0.0/16 via 10.66.0.9 dev eth0 table 77 metric 5

iface eth0 inet6 static
    address fd66::5/64
    gateway fd66::1
"""
DHCP = "allow-hotplug eth0\niface eth0 inet dhcp\n"
NETWORKD = """\
[Match]
Name=eth0

[Network]
Address=10.66.0.5/24
Gateway=10.66.0.1
Address=fd66::5/64
Gateway=fd66::1

[Route]
Destination=10.99.0.0/16
Gateway=10.66.0.9
"""
T = TypeVar("T")
_numbers = itertools.count(1)
# /sys is read-only as in a container: networkd does not wait for udev then.
_PREPARE = """
set -e
mount --make-rprivate /
mount -t sysfs -o ro covey-test /sys
for place in network systemd/network dhcp resolv.conf; do mount --bind "$1/etc/$place" "/etc/$place"; done
mount -t tmpfs covey-test /var/lib/dhcp
mount -t tmpfs covey-test /run
mkdir -p /run/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network:systemd-network /run/systemd/netif
ip link set lo up
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    text: str


class Machine:
    """Closed by `close`, which leaves nothing."""

    def __init__(self, interfaces: str = INTERFACES, networkd: str = "") -> None:
        """`interfaces` is for ifupdown, `networkd` for systemd-networkd, which runs if it is given."""
        number = next(_numbers)
        self.netns, self.lan = f"cvu{os.getpid()}-{number}", f"cvu{os.getpid()}-{number}-lan"
        self.directory = Path(
            tempfile.mkdtemp(prefix=f"cvs{os.getpid()}-u", dir=os.environ.get("COVEY_TEST_SCRATCH", "/var/tmp"))
        )
        self.state = self.directory / "state"
        hooks = [f"etc/network/if-{when}.d" for when in ("pre-up", "up", "down", "post-down")]
        for folder in ("etc/systemd/network", "etc/dhcp/dhclient-enter-hooks.d", *hooks):
            (self.directory / folder).mkdir(parents=True)
        (self.directory / "etc/resolv.conf").write_text("")
        (self.directory / "etc/dhcp/dhclient.conf").write_text("")
        (self.directory / "etc/dhcp/dhclient-enter-hooks.d/quiet").write_text("make_resolv_conf() { :; }\n")
        self.interfaces = self.directory / "etc/network/interfaces"
        self.interfaces.write_text("" if networkd else interfaces)
        self._networkd = networkd
        if networkd:
            (self.directory / "etc/systemd/network/10-eth0.network").write_text(networkd)
        for netns in (self.netns, self.lan):
            _do("ip", "netns", "add", netns)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[str]] = []
        self.keeper = self._enter_for_good()
        self.plug()

    def _enter_for_good(self) -> subprocess.Popen[bytes]:
        keeper = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.netns}", "unshare", "--mount", "sh", "-c", _PREPARE, "sh", str(self.directory)]
        )
        deadline = itertools.count()
        while Path(f"/proc/{keeper.pid}/comm").read_text() != "sleep\n":
            assert keeper.poll() is None and next(deadline) < 10**6, "the machine does not start"
        return keeper

    def plug(self) -> None:
        """The cable is in, the card configured as at boot by the installer's file."""
        self.lan_does("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        self.lan_does("ip", "link", "set", "lo", "up")
        for address in ("10.66.0.1/24", "10.66.0.9/24"):
            self.lan_does("ip", "addr", "add", address, "dev", "eth0")
        self.lan_does("ip", "addr", "add", "fd66::1/64", "dev", "eth0", "nodad")
        self.lan_does("ip", "link", "set", "eth0", "up")
        self.does("ip", "link", "set", "eth0", "address", "02:00:00:00:66:05")

    def boot(self) -> None:
        """What networking.service or systemd-networkd does at boot, until the addresses are there for good."""
        if self._networkd:
            self.start_networkd()
        else:
            self.does("ifup", "-a", "--allow=auto", "--read-environment")
            if "allow-hotplug eth0" in self.interfaces.read_text():
                self.does("ifup", "eth0")
        rounds = itertools.count()
        while not self.does("ip", "-4", "route", "show", "default"):
            assert next(rounds) < 1000, "the machine has got no route"
        while self.does("ip", "-6", "addr", "show", "tentative"):
            assert next(rounds) < 1000, "the kernel does not make up its mind about an address"

    def start_networkd(self) -> None:
        """Anew, if it runs: as after `systemctl restart systemd-networkd`."""
        self.end_daemons()
        self._daemon(["/lib/systemd/systemd-networkd"])

    def end_daemons(self) -> None:
        """Those of the machine that configure its network."""
        for process in self._daemons:
            process.kill()
            process.wait()
        self._daemons.clear()
        for pid in self.pids(b"dhclient"):
            os.kill(pid, signal.SIGKILL)

    def _daemon(self, argv: list[str]) -> None:
        enter = ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount"]
        self._daemons.append(subprocess.Popen([*enter, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def pids(self, program: bytes) -> list[int]:
        """Processes of a program that are in the machine's network namespace."""
        mine = Path(f"/proc/{self.keeper.pid}/ns/net").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if words[0].endswith(program) and (entry / "ns/net").readlink() == mine:
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended meanwhile
        return found

    def pull(self) -> None:
        """The card is gone, as after a power cut; whatever was made on the machine with it."""
        self.end_daemons()
        self.lan_does("ip", "link", "del", "eth0")
        for link in self.links():
            if link != "lo":
                self.does("ip", "link", "del", link)
        self.does("sh", "-c", "rm -f /run/network/* /run/network/.[a-z]* /run/dhclient* /run/systemd/netif/*/*")

    def does(self, *argv: str) -> str:
        """A command on the machine that must succeed; what it printed."""
        return _do("nsenter", f"--target={self.keeper.pid}", "--net", "--mount", *argv)

    def lan_does(self, *argv: str) -> str:
        return _do("nsenter", f"--net=/run/netns/{self.lan}", *argv)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`covey ...` on the machine, in a session of its own, as over SSH."""
        process = subprocess.Popen(
            ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount", str(COVEY), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "COVEY_STATE": str(self.state)},
        )
        self._started.append(process)
        return process

    def call(self, work: Callable[[], T]) -> T:
        """`work` in this process, in a thread that is in the machine's network namespace."""

        def inside() -> T:
            setns(f"/run/netns/{self.netns}", flags=0, libc=ctypes.CDLL(None, use_errno=True))
            return work()

        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(inside).result()

    def covey(self, *words: str, within: float = 60.0) -> Said:
        process = self.start(*words)
        out, _ = process.communicate(timeout=within)
        return Said(process.returncode, out)

    def links(self) -> list[str]:
        return [link["ifname"] for link in json.loads(self.does("ip", "-j", "link"))]

    def looks(self) -> Any:
        """Addresses, routes of all tables, and what is a port of what. Without the routes to link-local addresses, which are there only
        when the kernel has tried them out."""
        routes = [
            json.loads(self.does("ip", "-j", family, "route", "show", "table", "all", "scope", "global"))
            for family in ("-4", "-6")
        ]
        links = [
            {key: link.get(key) for key in ("ifname", "mtu", "address", "master")}
            | {"addresses": sorted(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"])}
            for link in json.loads(self.does("ip", "-j", "addr"))
        ]
        return links, [sorted(text for route in family if not (text := _route(route)).startswith("fe80:")) for family in routes]

    def guards(self) -> list[int]:
        """Pids of the processes that watch over a takeover of this machine."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"covey.main.prepare" in words and str(self.directory).encode() in words:
                    found.append(int(entry.name))
        return found

    def answers(self, address: str = "10.66.0.5") -> bool:
        argv = ["nsenter", f"--net=/run/netns/{self.lan}", "ping", "-c1", "-W1", "-q", address]
        return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0

    @contextmanager
    def pinged(self, address: str) -> Iterator[Pings]:
        """Somebody on the LAN pings the machine all the while."""
        argv = ["nsenter", f"--net=/run/netns/{self.lan}", "ping", "-i", str(PING_EVERY_S), "-n", address]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        pings = Pings()
        try:
            yield pings
        finally:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=10)
            pings.read(out)

    @contextmanager
    def lan_runs(self, *argv: str) -> Iterator[None]:
        """A program on the LAN's side, meanwhile."""
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.lan}", *argv], stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def lan_leases(self) -> Iterator[None]:
        """A DHCP server on the LAN gives the machine its address, for two minutes at a time."""
        lease = (
            "--dhcp-range=10.66.0.100,10.66.0.110,2m",
            "--dhcp-host=02:00:00:00:66:05,10.66.0.5,2m",
            "--dhcp-option=3,10.66.0.1",
        )
        manner = ("--no-ping", "--dhcp-authoritative", f"--dhcp-leasefile={self.directory}/leases", "--log-facility=/dev/null")
        nothing_else = ("--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--no-resolv", "--no-hosts")
        with self.lan_runs("dnsmasq", "--keep-in-foreground", "--interface=eth0", *lease, *manner, *nothing_else):
            yield

    @contextmanager
    def lan_talks(self) -> Iterator[None]:
        """Somebody on the LAN asks for somebody who is not there, so that ARP is heard."""
        with self.lan_runs("ping", "-i", "0.2", "-n", "10.66.0.77"):
            yield

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        for pid in self.guards():
            os.kill(pid, signal.SIGKILL)
        self.end_daemons()
        self.keeper.kill()
        self.keeper.wait()
        for netns in (self.netns, self.lan):
            _do("ip", "netns", "del", netns)
        shutil.rmtree(self.directory)


class Pings:
    """What became of the pings; known once they have ended."""

    sent = 0
    answered = 0
    longest_silence_s = 0.0

    def read(self, printed: str) -> None:
        heard = sorted({int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", printed)})
        match = re.search(r"(\d+) packets transmitted", printed)
        assert match, printed
        self.sent, self.answered = int(match[1]), len(heard)
        ends = [0, *heard, self.sent]
        self.longest_silence_s = max((after - before - 1) * PING_EVERY_S for before, after in itertools.pairwise(ends))


def _route(route: dict[str, Any]) -> str:
    return " ".join(str(route.get(key)) for key in ("dst", "gateway", "dev", "table", "metric", "protocol"))


def _do(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
