"""Requests on instances."""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_mac, check_name, check_tag, check_text, check_uuid
from covey.model.request import Request
from covey.model.requests.disk import MOST_DISKS, check_disk_size
from covey.model.requests.network import parse_address

SMALLEST_MEMORY = 16 * 2**20
LARGEST_MEMORY = 2**44
MOST_CPUS = 1024
MOST_NICS = 8
LARGEST_USER_DATA = 64 * 1024
_SSH_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\n]*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWish:
    """A disk asked for: 0 is "as large as the image" (the first disk only); "" are the cluster's choices."""

    size: int = 0
    pool: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NicWish:
    """A NIC asked for. `address` is "auto" (from the network's pool), "none", or one of the subnet."""

    network: str = ""
    mac: str = ""
    address: str = "auto"


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
    notes: str = ""
    start: bool = True
    wait_ready: bool = False
    ready_timeout_s: float = 0.0  # 0: the cluster's default

    def check(self) -> None:
        check_name(self.name, "name")
        check(0 <= self.cpus <= MOST_CPUS, BadInput(f"{self.cpus} CPUs cannot be", "cpus", f"between 1 and {MOST_CPUS}"))
        check(
            self.memory == 0 or SMALLEST_MEMORY <= self.memory <= LARGEST_MEMORY,
            BadInput(f"memory of {self.memory} bytes cannot be", "memory", "between 16M and 16T"),
        )
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
        check(
            len(self.user_data.encode(errors="surrogatepass")) <= LARGEST_USER_DATA,
            BadInput("is longer than 64 KiB", "user_data"),
        )
        check_text(self.user_data.replace("\r", ""), "user_data", LARGEST_USER_DATA)
        check(len(self.tags) <= 50, BadInput("at most 50 tags", "tags"))
        for tag in self.tags:
            check_tag(tag, "tags")
        check_text(self.notes, "notes")
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
    wait_ready: bool = False


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
    """Change tags or notes; None leaves a field as it is."""

    tags: tuple[str, ...] | None = None
    notes: str | None = None

    def check(self) -> None:
        check_name(self.instance, "instance")
        check(len(self.tags or ()) <= 50, BadInput("at most 50 tags", "tags"))
        for tag in self.tags or ():
            check_tag(tag, "tags")
        if self.notes is not None:
            check_text(self.notes, "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveInstance(_OnInstance, kind="instance.remove"):
    """Stop it at once and remove it with all its disks."""
