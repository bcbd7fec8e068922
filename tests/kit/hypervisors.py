"""Hypervisors on the test bench: the drivers, and hands to do to a guest what no protocol offers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from covey.host.hypervisor.fake import FakeHypervisor
from covey.host.hypervisor.libvirt import LibvirtHypervisor
from covey.host.hypervisor.private import ensure_private_libvirtd, private_files, stop_private_libvirtd
from covey.host.hypervisor.protocol import Hypervisor
from covey.host.shelf import Shelf
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk
from covey.model.pool import Place, Volume
from tests.kit.bootsector import IMAGE_SIZE, ticking, write_image
from tests.kit.eventually import eventually

MIB = 2**20
MACHINE = "pc-q35-7.2"


class Bench(Protocol):
    hypervisor: Hypervisor

    def volume(self) -> tuple[Volume, Attachment]:
        """A new disk of 1 MiB that boots nothing."""
        ...

    def overlay(self, base: Volume) -> Volume:
        """A new empty volume that lies on another."""
        ...

    def attachment(self, volume: Volume) -> Attachment: ...

    def forget(self, volume: Volume) -> None:
        """The volume is gone for ever."""
        ...

    def guest(self, *, obeys: bool = True, ends: bool = False, lets_go: bool = True) -> tuple[Domain, dict[str, Attachment]]:
        """A definition not yet made. `obeys` the power button; `ends`: shuts itself down soon after its start, `lets_go` of disks."""
        ...

    async def ready(self, domain: Domain) -> None:
        """The running guest's code runs, so that it hears the power button."""
        ...

    async def shut_down_from_within(self, domain: Domain) -> None: ...
    async def crash(self, domain: Domain) -> None: ...
    async def pause(self, domain: Domain) -> None: ...
    async def plant_foreign(self, instance: str) -> None: ...
    async def tamper(self, domain: Domain) -> None:
        """Somebody gives its definition a second CPU."""
        ...

    async def silence(self) -> None:
        """The hypervisor's daemon is killed."""
        ...

    async def speak(self) -> None:
        """The daemon runs again."""
        ...

    async def another(self) -> Hypervisor:
        """A second driver on the same hypervisor, as an agent that was started anew has it."""
        ...


class FakeBench:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._fake = FakeHypervisor(shelf, memory=4096 * MIB)
        self.hypervisor: Hypervisor = self._fake
        self._traits: dict[str, tuple[bool, bool]] = {}

    def volume(self) -> tuple[Volume, Attachment]:
        volume = Volume(str(uuid.uuid4()), Place("file", "/pretended"), "raw", IMAGE_SIZE)
        return volume, self.attachment(volume)

    def overlay(self, base: Volume) -> Volume:
        return replace(base, id=str(uuid.uuid4()), format="qcow2")

    def attachment(self, volume: Volume) -> Attachment:
        return Attachment("file", f"/pretended/{volume.id}", volume.format)

    def forget(self, volume: Volume) -> None: ...

    def guest(self, *, obeys: bool = True, ends: bool = False, lets_go: bool = True) -> tuple[Domain, dict[str, Attachment]]:
        volume, attachment = self.volume()
        domain = _domain(volume)
        self._traits[domain.instance] = (obeys, lets_go)
        return domain, {volume.id: attachment}

    async def ready(self, domain: Domain) -> None:
        obeys, lets_go = self._traits[domain.instance]
        if not obeys:
            self._fake.deafen(domain.instance)
        if not lets_go:
            self._fake.cling(domain.instance)

    async def shut_down_from_within(self, domain: Domain) -> None:
        self._fake.guest_shutdown(domain.instance)

    async def crash(self, domain: Domain) -> None:
        self._fake.crash(domain.instance)

    async def pause(self, domain: Domain) -> None:
        self._fake.pause(domain.instance)

    async def tamper(self, domain: Domain) -> None:
        self._fake.tamper(domain.instance, "vcpu is 2, not 1")

    async def plant_foreign(self, instance: str) -> None:
        self._fake.plant_foreign(instance)

    async def silence(self) -> None:
        self._fake.answers = False

    async def speak(self) -> None:
        self._fake.answers = True
        for domain in await self._fake.domains():
            if domain.state == "running":
                return

    async def another(self) -> Hypervisor:
        return FakeHypervisor(self._shelf)


class LibvirtBench:
    """A private libvirtd below a short path (sockets) that everybody may pass through (QEMU's user)."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cvh-", dir="/tmp"))
        self.directory.chmod(0o755)
        (self.directory / "instances").mkdir(mode=0o755)
        self._uri = ""
        self._netns = ""
        self._drivers: list[LibvirtHypervisor] = []

    async def open(self, netns: str = "") -> None:
        self._netns = netns
        self._uri = await ensure_private_libvirtd(self.directory, netns)
        self.hypervisor: Hypervisor = await self.another()

    async def close(self) -> None:
        """Nothing is left: no guest, no daemon, no file."""
        await self.speak()
        for driver in self._drivers:
            await driver.close()  # two drivers on one directory are one too many to end a guest
        last = await self.another()
        for domain in await last.domains():
            await last.ensure_stopped(domain.instance)
            await last.ensure_absent(domain.instance)
        await last.close()
        await stop_private_libvirtd(self.directory)
        shutil.rmtree(self.directory)

    async def another(self) -> Hypervisor:
        driver = LibvirtHypervisor(self._uri, self.directory / "instances", files=private_files(self.directory))
        self._drivers.append(driver)
        return driver

    def volume(self) -> tuple[Volume, Attachment]:
        return self._volume(b"")

    def _volume(self, sector: bytes) -> tuple[Volume, Attachment]:
        volume = Volume(str(uuid.uuid4()), Place("file", str(self.directory)), "raw", IMAGE_SIZE)
        write_image(self.directory / f"{volume.id}.raw", sector)
        return volume, self.attachment(volume)

    def overlay(self, base: Volume) -> Volume:
        volume = replace(base, id=str(uuid.uuid4()), format="qcow2")
        path, below = self.attachment(volume).path, self.attachment(base)
        argv = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", below.path, "-F", below.format, path, str(base.size)]
        subprocess.run(argv, check=True, timeout=20)
        Path(path).chmod(0o666)
        return volume

    def attachment(self, volume: Volume) -> Attachment:
        return Attachment("file", str(self.directory / f"{volume.id}.{volume.format}"), volume.format)

    def forget(self, volume: Volume) -> None:
        Path(self.attachment(volume).path).unlink()

    def guest(self, *, obeys: bool = True, ends: bool = False, lets_go: bool = True) -> tuple[Domain, dict[str, Attachment]]:
        volume, attachment = self._volume(ticking(obeys=obeys, ends_after=5 if ends else 0, lets_go=lets_go))
        return _domain(volume), {volume.id: attachment}

    async def ready(self, domain: Domain) -> None:
        await eventually(lambda: b"T0" in self.printed(domain))

    def printed(self, domain: Domain) -> bytes:
        log = self.hypervisor.console_log(domain.instance)
        return log.read_bytes() if log.exists() else b""

    async def shut_down_from_within(self, domain: Domain) -> None:
        """It was made so that it does by itself."""

    async def crash(self, domain: Domain) -> None:
        found = await self.hypervisor.domain(domain.instance)
        assert found and found.pid
        os.kill(found.pid, signal.SIGKILL)

    async def pause(self, domain: Domain) -> None:
        self.virsh("suspend", domain.instance)

    async def tamper(self, domain: Domain) -> None:
        self.virsh("setvcpus", domain.instance, "2", "--config", "--maximum")

    async def plant_foreign(self, instance: str) -> None:
        xml = self.directory / "foreign.xml"
        xml.write_text(
            f"<domain type='qemu'><name>foreign-{instance[:8]}</name><uuid>{instance}</uuid><memory>16384</memory>"
            "<os><type arch='x86_64'>hvm</type></os></domain>"
        )
        self.virsh("define", str(xml))

    async def silence(self) -> None:
        os.kill(int((self.directory / "libvirt/libvirtd.pid").read_text()), signal.SIGKILL)

    async def speak(self) -> None:
        await ensure_private_libvirtd(self.directory, self._netns)

    def virsh(self, *arguments: str) -> str:
        done = subprocess.run(["virsh", "-c", self._uri, *arguments], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _domain(volume: Volume) -> Domain:
    return Domain(
        instance=str(uuid.uuid4()),
        title="web1.example.org",
        cpus=1,
        memory=16 * MIB,
        accelerator="tcg",
        machine=MACHINE,
        disks=(DomainDisk(0, volume),),
    )


def with_memory(domain: Domain, memory: int) -> Domain:
    return replace(domain, memory=memory)
