"""Requests on instances."""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.base.units import humane_size
from covey.model.filter import Rule
from covey.model.names import check_line, check_mac, check_name, check_tag, check_text, check_uuid
from covey.model.rawxml import check_raw_xml
from covey.model.request import Request
from covey.model.requests.disk import MOST_DISKS, check_disk_size
from covey.model.requests.firewall import check_firewalls
from covey.model.requests.network import parse_address, parse_address6
from covey.model.requests.nic import MOST_NICS, check_settings

LONGEST_OWNER = 100
LEAST_BANDWIDTH = 10_000_000  # bits a second
LONGEST_DOWNTIME_S = 60.0
SMALLEST_MEMORY = 16 * 2**20
LARGEST_MEMORY = 2**44
MOST_CPUS = 1024
LARGEST_USER_DATA = 64 * 1024
FIRMWARES = ("bios", "uefi")
BOOT_DEVICES = ("disk", "network", "cdrom")
_MACHINE = re.compile(r"pc-(q35|i440fx)-\d+\.\d+", re.ASCII)
_CPU_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_SSH_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\n]*)?", re.ASCII)


def check_cpus(cpus: int, field: str) -> None:
    """Raises BadInput for a number of CPUs that cannot be; 0 is none asked."""
    check(0 <= cpus <= MOST_CPUS, BadInput(f"{cpus} CPUs cannot be", field, f"between 1 and {MOST_CPUS}"))


def check_memory_size(memory: int, field: str) -> None:
    """Raises BadInput for a memory that cannot be; 0 is none asked."""
    check(
        memory == 0 or SMALLEST_MEMORY <= memory <= LARGEST_MEMORY,
        BadInput(f"memory of {humane_size(memory)} cannot be", field, "between 16M and 16T; a number without a unit is bytes"),
    )


def check_machine(machine: str, field: str) -> None:
    """Raises BadInput unless it is the versioned name of a machine type."""
    check(_MACHINE.fullmatch(machine), BadInput("is not a machine type", field, "such as pc-q35-7.2"))


def check_platform(firmware: str, cpu_model: str, boot: tuple[str, ...], raw_xml: str) -> None:
    """Raises BadInput for a machine that cannot be, whatever the node can."""
    check(firmware in FIRMWARES, BadInput(f"{firmware[:40]!r} is no firmware", "firmware", f"use {' or '.join(FIRMWARES)}"))
    check(
        not cpu_model or _CPU_MODEL.fullmatch(cpu_model),
        BadInput(f"{cpu_model[:40]!r} is no CPU model", "cpu_model", "use host, x86-64-v2, or a name of QEMU's"),
    )
    for device in boot:
        check(
            device in BOOT_DEVICES,
            BadInput(f"{device[:40]!r} cannot be booted from", "boot", f"use some of {', '.join(BOOT_DEVICES)}"),
        )
    check(len(set(boot)) == len(boot), BadInput("something is named twice", "boot"))
    check_raw_xml(raw_xml)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWish:
    """A disk asked for: 0 is "as large as the image" (the first disk only); "" are the cluster's choices."""

    size: int = 0
    pool: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NicWish:
    """A NIC asked for. `address` (IPv4) and `address6` (IPv6) are "auto" (from the network's pool, if it has that family), "none", or one
    of the subnet. The rest is as in AddNic."""

    network: str = ""
    mac: str = ""
    address: str = "auto"
    address6: str = "auto"
    up: bool = True
    guarded: bool = True
    also: tuple[str, ...] = ()
    limit_in: int = 0
    limit_out: int = 0
    firewalls: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddInstance(Request, kind="instance.add"):
    """A virtual server. `disks` None is one disk as large as the image (none without an image); `nics` None is one on the only network
    or `default`, or none when there is no network. `user_data` is a secret: the service keeps it apart and leaves `secret`."""

    name: str
    cpus: int = 0  # 0: the cluster's default
    memory: int = 0  # bytes; 0: the cluster's default
    image: str = ""
    iso: str = ""
    disks: tuple[DiskWish, ...] | None = None
    nics: tuple[NicWish, ...] | None = None
    uuid: str = ""
    ssh_keys: tuple[str, ...] = ()
    user_data: str = ""
    secret: str = ""
    tags: tuple[str, ...] = ()
    firewalls: tuple[str, ...] = ()  # names; all its NICs have them
    notes: str = ""
    owner: str = ""
    protected: bool = False
    start: bool = True
    wait_ready: bool = False
    ready_timeout_s: float = 0.0  # 0: the cluster's default
    max_cpus: int = 0  # up to where it can grow while it runs; 0: no further than it begins with
    max_memory: int = 0  # bytes, likewise
    firmware: str = "bios"  # bios | uefi
    cpu_model: str = ""  # "" is the usual one
    boot: tuple[str, ...] = ()  # of disk, network, cdrom, in this order; () is the usual one
    raw_xml: str = ""  # added to the domain as it is: the escape for what Covey does not know
    machine: str = ""  # its machine type, pinned; "": the cluster's default
    node: str = ""  # where it is to be; "": where there is most room

    def check(self) -> None:
        check_name(self.name, "name")
        if self.node:
            check_name(self.node, "node")
        for field in ("cpus", "max_cpus"):
            check_cpus(getattr(self, field), field)
        for field in ("memory", "max_memory"):
            check_memory_size(getattr(self, field), field)
        check_platform(self.firmware, self.cpu_model, self.boot, self.raw_xml)
        if self.machine:
            check_machine(self.machine, "machine")
        for field in ("image", "iso"):
            if getattr(self, field):
                check_name(getattr(self, field), field)
        for number, disk in enumerate(self.disks or ()):
            self._check_disk(number, disk)
        check(len(self.disks or ()) <= MOST_DISKS, BadInput(f"at most {MOST_DISKS} disks", "disks"))
        check(len(self.nics or ()) <= MOST_NICS, BadInput(f"at most {MOST_NICS} NICs", "nics"))
        for number, nic in enumerate(self.nics or ()):
            self._check_nic(number, nic)
        if self.uuid:
            check_uuid(self.uuid, "uuid")
        check(len(self.ssh_keys) <= 100, BadInput("at most 100 SSH keys", "ssh_keys"))
        for key in self.ssh_keys:
            check(
                len(key) < 16384 and _SSH_KEY.fullmatch(key.strip()),
                BadInput("is not an SSH public key", "ssh_keys", "give the .pub file, not the private key"),
            )
            check_line(key.strip(), "ssh_keys", 16384)
        check(
            len(self.user_data.encode(errors="surrogatepass")) <= LARGEST_USER_DATA,
            BadInput("is longer than 64 KiB", "user_data"),
        )
        check_text(self.user_data.replace("\r", ""), "user_data", LARGEST_USER_DATA)
        check(len(self.tags) <= 50, BadInput("at most 50 tags", "tags"))
        for tag in self.tags:
            check_tag(tag, "tags")
        check_text(self.notes, "notes")
        check_line(self.owner, "owner", LONGEST_OWNER)
        check_firewalls(self.firewalls)
        check(
            not self.wait_ready or self.start,
            BadInput("an instance that is not started never becomes ready", "wait_ready"),
        )
        check(0 <= self.ready_timeout_s <= 86400, BadInput("must be at most a day", "ready_timeout_s"))

    def _check_disk(self, number: int, disk: DiskWish) -> None:
        where = f"disks.{number}"
        if disk.size:
            check_disk_size(disk.size, f"{where}.size")
        else:
            check(
                number == 0 and self.image,
                BadInput(
                    "a disk needs a size",
                    f"{where}.size",
                    "only the first disk of an instance with an image may go without",
                ),
            )
        if disk.pool:
            check_name(disk.pool, f"{where}.pool")
        check(
            disk.format in ("", "qcow2", "raw"),
            BadInput(f"{disk.format[:40]!r} is no disk format", f"{where}.format", "use qcow2 or raw"),
        )

    def _check_nic(self, number: int, nic: NicWish) -> None:
        where = f"nics.{number}"
        if nic.network:
            check_name(nic.network, f"{where}.network")
        if nic.mac:
            check_mac(nic.mac, f"{where}.mac")
        if nic.address not in ("auto", "none"):
            parse_address(nic.address, f"{where}.address")
        if nic.address6 not in ("auto", "none"):
            parse_address6(nic.address6, f"{where}.address6")
        check_settings(nic.also, nic.limit_in, nic.limit_out, nic.firewalls, nic.rules)

    @property
    def title(self) -> str:
        return f"instance add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnInstance(Request):
    instance: str

    def check(self) -> None:
        check_name(self.instance, "instance")

    @property
    def title(self) -> str:
        return f"{self.kind.replace('.', ' ')} {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInstance(_OnInstance, kind="instance.start"):
    """Start it; with `iso`, this once from that image: at its next start it is gone."""

    wait_ready: bool = False
    iso: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.iso:
            check_name(self.iso, "iso")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopInstance(_OnInstance, kind="instance.stop"):
    """Asked over ACPI for `graceful_s` seconds, then cut; None is the cluster's default, 0 cuts at once."""

    graceful_s: float | None = None

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(
            self.graceful_s is None or 0 <= self.graceful_s <= 86400,
            BadInput("must be between 0 and a day", "graceful_s"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RebootInstance(StopInstance, kind="instance.reboot"):
    """Stop as by StopInstance, then start."""

    wait_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetInstance(_OnInstance, kind="instance.reset"):
    """Cut and start at once: what the reset button does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyInstance(_OnInstance, kind="instance.modify"):
    """Change what it is; None leaves a field as it is. A running guest gets at once what it can, and the rest at its next start. With
    `restart` that is now: it is stopped as by StopInstance and started, if anything waits for it. `max_cpus` and `max_memory` 0 take
    the maximum away."""

    tags: tuple[str, ...] | None = None
    firewalls: tuple[str, ...] | None = None  # names; all its NICs have them
    notes: str | None = None
    owner: str | None = None
    protected: bool | None = None
    cpus: int | None = None
    memory: int | None = None  # bytes
    max_cpus: int | None = None
    max_memory: int | None = None  # bytes
    restart: bool = False
    firmware: str | None = None
    cpu_model: str | None = None
    boot: tuple[str, ...] | None = None
    iso: str | None = None  # "" takes it out
    raw_xml: str | None = None

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_platform(self.firmware or "bios", self.cpu_model or "", self.boot or (), self.raw_xml or "")
        if self.iso:
            check_name(self.iso, "iso")
        for field, least in (("cpus", 1), ("max_cpus", 0)):
            if getattr(self, field) is not None:
                check(getattr(self, field) >= least, BadInput("at least 1", field))
                check_cpus(getattr(self, field), field)
        for field, least in (("memory", 1), ("max_memory", 0)):
            if getattr(self, field) is not None:
                check(getattr(self, field) >= least, BadInput("at least 16M", field))
                check_memory_size(getattr(self, field), field)
        check(len(self.tags or ()) <= 50, BadInput("at most 50 tags", "tags"))
        for tag in self.tags or ():
            check_tag(tag, "tags")
        check_firewalls(self.firewalls or ())
        if self.notes is not None:
            check_text(self.notes, "notes")
        if self.owner is not None:
            check_line(self.owner, "owner", LONGEST_OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameInstance(_OnInstance, kind="instance.rename"):
    """Give it another name; what the guest calls itself is the guest's."""

    new_name: str

    def check(self) -> None:
        check_name(self.instance, "instance")
        check_name(self.new_name, "new_name")

    @property
    def title(self) -> str:
        return f"instance rename {self.instance} to {self.new_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateInstance(_OnInstance, kind="instance.migrate"):
    """Move it to another node while it runs: to the one named, or where there is most room. `bandwidth` is bits a second, 0 for no limit;
    `downtime_s` how long the guest may stand still, 0 for the usual. A guest that writes faster than its memory can be sent is slowed
    down, if it `slows_guest`."""

    to: str = ""
    bandwidth: int = 0
    downtime_s: float = 0.0
    slows_guest: bool = True

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.to:
            check_name(self.to, "to")
        check(
            self.bandwidth == 0 or self.bandwidth >= LEAST_BANDWIDTH,
            BadInput("at least 10M bits a second", "bandwidth", "0 is no limit"),
        )
        check(
            0 <= self.downtime_s <= LONGEST_DOWNTIME_S,
            BadInput(f"between 0 and {LONGEST_DOWNTIME_S:g} s", "downtime_s", "0 is the usual: 300 ms"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinstallInstance(_OnInstance, kind="instance.reinstall"):
    """Make its first disk anew from its image, or from another one. The other disks, NICs and addresses stay."""

    image: str = ""  # "" is the one it was made from
    wait_ready: bool = False
    by: str = ""
    reason: str = ""

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.image:
            check_name(self.image, "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveInstance(_OnInstance, kind="instance.remove"):
    """Stop it at once and hide it; its disks are kept for a while, unless `purge`. With that, one that was removed before is gone for
    good. `by` and `reason` are the job's, filled in by the service."""

    purge: bool = False
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreInstance(_OnInstance, kind="instance.restore"):
    """Bring back one that was removed, by its name or id: as `name` when that is given."""

    name: str = ""
    start: bool = False

    def check(self) -> None:
        check_name(self.instance, "instance")
        if self.name:
            check_name(self.name, "name")
