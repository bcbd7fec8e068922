"""A guest as Covey defines it, and two as virt-install does, all of the same image and on the very same disk: one runs at a time."""

from __future__ import annotations

import json
import os
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
    """Its definition as libvirt completed it, the libvirtd and the network namespace where it runs, and the file of its disk."""

    definition: str
    uri: str
    netns: str
    disk: Path

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started anew, it answers; afterwards it is gone."""
        domain = libvirt.open(self.uri).createXML(self.definition)
        try:
            await_guest(self.netns)
            yield
        finally:
            domain.destroy()

    def speed(self, load: Load, cold: bool = True) -> float:
        """Bytes a second, while it runs. `cold`: nothing of its disk is in the host's memory."""
        perform(self.netns, AWAKE)
        if cold:
            _forget(self.disk)
        return load.size / perform(self.netns, load)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Without the packet rules of its network namespace."""
        nft = ("ip", "netns", "exec", self.netns, "nft")
        rules = _output(*nft, "list", "ruleset")
        if "cvt" not in rules:
            sys.exit(f"no rules for its NIC, which would be compared with none:\n{rules}")
        _output(*nft, "flush", "ruleset")
        try:
            yield
        finally:
            _output(*nft, "-f", "-", given=rules)


@dataclass(frozen=True, slots=True)
class Rivals:
    """`usual` is as virt-install defines it by default, `equal` the same with Covey's cache mode."""

    covey: Guest
    equal: Guest
    usual: Guest


@asynccontextmanager
async def the_rivals(directory: Path) -> AsyncIterator[Rivals]:
    """None runs. Covey has made its own, started it once, so that all is there that it needs, and ended. Nothing of them is left behind."""
    image = await ensure_image()
    with _namespace("covey") as ours, _namespace("usual") as its:
        other = directory / "usual"
        other.mkdir(mode=0o711)
        try:
            covey = _made_by_covey(directory / "state", ours, image)
            uri = await ensure_private_libvirtd(other, its)
            for words in (f"link add {BRIDGE} type bridge", f"addr add {GATEWAY}/24 dev {BRIDGE}", f"link set {BRIDGE} up"):
                _output("ip", "-n", its, *words.split())
            definitions = [_made_by_virt_install(uri, covey, more) for more in (",cache=none", "")]
            yield Rivals(covey, *(Guest(definition, uri, its, covey.disk) for definition in definitions))
        finally:
            for state in (directory / "state", other):
                await stop_private_libvirtd(state)


def _made_by_covey(state: Path, netns: str, image: Path) -> Guest:
    up = Up(state, "--netns", netns)
    domain: Any = None
    try:
        up.covey("cluster", "init", "bench", "--accelerator", "tcg")
        up.covey("network", "add", "default", "--subnet", SUBNET, "--bridge", BRIDGE)
        up.covey("image", "add", NAME, "--source", str(image))
        sizes = ("--disk", str(DISK), "--memory", str(MEMORY), "--cpus", "1")
        up.covey("instance", "add", NAME, "--image", NAME, *sizes, "--nic", f"default,address={ADDRESS}")
        instance = json.loads(up.covey("instance", "info", NAME, "--json"))
        uri = f"qemu:///system?socket={next(state.glob('libvirt/**/libvirt-sock'))}"
        domain = libvirt.open(uri).lookupByUUIDString(instance["id"])
        disk = state / "pools/default/volumes" / f"{instance['disks'][0]['volume']}.qcow2"
        return Guest(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), uri, netns, disk)
    finally:
        up.stop()  # first: to Covey, a guest that is destroyed has crashed, and is started again
        if domain:
            domain.destroy()


def _made_by_virt_install(uri: str, like: Guest, more: str) -> str:
    """Of the same name, UUID and MAC address, so that these are no differences, and on the same disk."""
    connection = libvirt.open(uri)
    name, uuid, mac = (_between(like.definition, *ends) for ends in (("<name>", "<"), ("<uuid>", "<"), ("<mac address='", "'")))
    text = _output(
        *("virt-install", "--connect", uri, "--print-xml", "--import", "--osinfo", SYSTEM, "--vcpus", "1"),
        *("--name", name, "--uuid", uuid, "--memory", str(MEMORY // MIB)),
        *("--disk", f"path={like.disk}{more}", "--network", f"bridge={BRIDGE},mac={mac}"),
    )
    domain = connection.defineXML(text)
    completed = str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    domain.undefine()
    return completed


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0]


def _output(*argv: str, given: str | None = None) -> str:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)
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
