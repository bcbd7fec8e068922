"""Instances, their disks and NICs."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.filter import Rule
from covey.model.pool import Volume
from covey.model.shape import Shape


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of an instance; its index is its name within the instance and stays when others go."""

    index: int
    pool: str  # id
    volume: Volume
    image: str = ""  # id of the image that it is a clone of
    base: str = ""  # id of the layer that its volume lies on
    serial: str = ""  # the id of its first volume, by which the guest knows it; "" while that is its volume

    @property
    def size(self) -> int:
        return self.volume.size


@dataclass(frozen=True, slots=True)
class Nic:
    index: int
    network: str  # id
    mac: str
    address: str = ""  # IPv4 without prefix; "" for none
    up: bool = True  # its link: False is a pulled cable
    guarded: bool = True  # it sends from its own addresses only, and is no router and no DHCP server
    also: tuple[str, ...] = ()  # further addresses and networks that are its own
    limit_in: int = 0  # bits a second; 0 for no limit
    limit_out: int = 0
    firewalls: tuple[str, ...] = ()  # ids, beside those of the instance
    rules: tuple[Rule, ...] = ()  # of its own; a peer that is a firewall is named by id
    address6: str = ""  # IPv6, likewise

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for address in (self.address, self.address6) if address)


@dataclass(frozen=True, slots=True)
class Instance:
    """A virtual server. A record. `state` is adding, ready, removing, purging
    or restoring; whether it runs is `desired` (running | stopped) and
    Observed. `desired_by` says who wanted that: a user, "guest" (shut down from within) or "covey"."""

    id: str
    name: str
    node: str  # id
    cpus: int
    memory: int  # bytes
    machine: str
    state: str
    desired: str
    created_at: float
    desired_by: str = ""
    generation: int = 0  # raised with every start
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    iso: str = ""  # id of an image used as CD-ROM
    ssh_keys: tuple[str, ...] = ()
    secret: str = ""  # reference to the user-data (P13)
    seeded: bool = False  # whether it gets a cloud-init seed
    tags: tuple[str, ...] = ()
    notes: str = ""
    max_cpus: int = 0  # up to where it can grow while it runs; 0: no further than it began with
    max_memory: int = 0  # bytes, likewise
    owner: str = ""  # whose it is: text for people, and for filters
    protected: bool = False  # whether what would lose it, or a part of it, is refused
    firmware: str = "bios"  # bios | uefi
    cpu_model: str = ""  # "" is the usual one; host; x86-64-v2 and so on; or a name of QEMU's
    boot: tuple[str, ...] = ()  # of disk, network, cdrom, in this order; () is the usual one
    raw_xml: str = ""  # what the administrator adds to the domain, as libvirt's XML
    firewalls: tuple[str, ...] = ()  # ids; all its NICs have them
    identity: str = ""  # the id by which cloud-init in the guest knows the machine; "" for its own
    sealed: bool = False  # a clone whose guest gets a machine id of its own at its first boot

    def __str__(self) -> str:
        return f"instance {self.name}"


@dataclass(frozen=True, slots=True)
class Observed:
    """What was last seen of an instance. A record, written on change only.

    `state` is running, paused, stopped, crashed or missing (its node has no such domain); `reason` is as in FoundDomain.
    `ready_generation` is the generation that last reported ready. `crashes` are the times of the recent ones; `restart_at` is when the
    healer will try again, 0 when it will not."""

    id: str  # the instance's
    state: str
    since: float
    reason: str = ""
    generation: int = 0
    pid: int = 0
    ready_generation: int = 0
    ready_at: float = 0.0
    ready_status: str = ""
    ready_s: float = 0.0  # what the guest took to get there
    addresses: tuple[str, ...] = ()
    crashes: tuple[float, ...] = ()
    restart_at: float = 0.0
    gave_up: bool = False
    live: Shape | None = None  # what the run under way is
