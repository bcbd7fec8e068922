"""Two guests of the same image, memory, kind of disk file and bridge: one that Covey defined, one as virt-install defines it by default."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from bench.load import ADDRESS, AWAKE, MIB, Load, await_guest, ensure_image, perform
from bench.rig import Up
from covey.host.hypervisor.private import ensure_private_libvirtd, stop_private_libvirtd

NAME = "load"
GATEWAY, SUBNET, BRIDGE = "10.77.0.1", "10.77.0.0/24", "cv-default"
MEMORY, DISK = 512 * MIB, 1024 * MIB
SYSTEM = "debian11"  # the newest that Debian 12's own list of systems names
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Guest:
    """Where it is, its libvirt domain, and the file of its disk."""

    netns: str
    domain: Any
    disk: Path

    @property
    def definition(self) -> str:
        """As libvirt completed it."""
        return str(self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def speed(self, load: Load, cold: bool = True) -> float:
        """Bytes a second; before and after, the guest is paused. `cold`: nothing of its disk is in the host's memory."""
        self.domain.resume()
        try:
            perform(self.netns, AWAKE)
            if cold:
                _forget(self.disk)
            return load.size / perform(self.netns, load)
        finally:
            self.domain.suspend()


@dataclass(frozen=True, slots=True)
class Pair:
    up: Up
    covey: Guest
    usual: Guest

    def start(self) -> None:
        """Both run, have answered, and are paused."""
        self.up.covey("instance", "start", NAME)
        self.usual.domain.create()
        for guest in (self.covey, self.usual):
            await_guest(guest.netns)
            guest.domain.suspend()


@asynccontextmanager
async def a_pair(directory: Path) -> AsyncIterator[Pair]:
    """Both defined, neither started; each has a libvirtd and a network namespace of its own. Nothing of them is left behind."""
    image = await ensure_image()
    with _namespace("covey") as ours, _namespace("usual") as its:
        up = Up(directory / "state", "--netns", ours)
        other = directory / "usual"
        other.mkdir(mode=0o711)
        guests: list[Guest] = []
        try:
            guests.append(_covey_guest(up, ours, image))
            guests.append(_usual_guest(await ensure_private_libvirtd(other, its), other / "disk.qcow2", its, guests[0]))
            yield Pair(up, *guests)
        finally:
            up.stop()  # first: to Covey, a guest that is destroyed has crashed, and is started again
            for guest in guests:
                if guest.domain.isActive():
                    guest.domain.destroy()
            await asyncio.gather(*(stop_private_libvirtd(each) for each in (up.state, other)))


def _covey_guest(up: Up, netns: str, image: Path) -> Guest:
    up.covey("cluster", "init", "bench", "--accelerator", "tcg")
    up.covey("network", "add", "default", "--subnet", SUBNET, "--bridge", BRIDGE)
    up.covey("image", "add", NAME, "--source", str(image))
    sizes = ("--disk", str(DISK), "--memory", str(MEMORY), "--cpus", "1")
    up.covey("instance", "add", NAME, "--image", NAME, *sizes, "--nic", f"default,address={ADDRESS}", "--no-start")
    instance = json.loads(up.covey("instance", "info", NAME, "--json"))
    disk = up.state / "pools/default/volumes" / f"{instance['disks'][0]['volume']}.qcow2"
    connection = libvirt.open(f"qemu:///system?socket={next(up.state.glob('libvirt/**/libvirt-sock'))}")
    return Guest(netns, connection.lookupByUUIDString(instance["id"]), disk)


def _usual_guest(uri: str, disk: Path, netns: str, like: Guest) -> Guest:
    """Of the same name, UUID and MAC address, so that these are no differences; its disk is a file of the same kind, on the same image."""
    for words in (f"link add {BRIDGE} type bridge", f"addr add {GATEWAY}/24 dev {BRIDGE}", f"link set {BRIDGE} up"):
        _output("ip", "-n", netns, *words.split())
    below = json.loads(_output("qemu-img", "info", "-U", "--output=json", str(like.disk)))["backing-filename"]
    _output("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", below, str(disk), str(DISK))
    shutil.chown(disk, "libvirt-qemu", "kvm")
    mac = like.definition.partition("<mac address='")[2][:17]
    text = _output(
        *("virt-install", "--connect", uri, "--print-xml", "--import", "--osinfo", SYSTEM, "--vcpus", "1"),
        *("--name", like.domain.name(), "--uuid", like.domain.UUIDString(), "--memory", str(MEMORY // MIB)),
        *("--disk", f"path={disk}", "--network", f"bridge={BRIDGE},mac={mac}"),
    )
    return Guest(netns, libvirt.open(uri).defineXML(text), disk)


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: {done.stderr}")
    return done.stdout


@contextmanager
def _namespace(name: str) -> Iterator[str]:
    netns = f"cvb{os.getpid()}-{name}"
    _output("ip", "netns", "add", netns)
    try:
        _output("ip", "-n", netns, "link", "set", "lo", "up")
        yield netns
    finally:
        _output("ip", "netns", "delete", netns)


def _forget(disk: Path) -> None:
    """What the host's memory holds of the file is written and dropped."""
    descriptor = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
