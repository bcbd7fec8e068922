"""A virtual machine as a hypervisor is told to make it: everything resolved, nothing to decide."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from covey.model.pool import Volume
from covey.model.shape import Shape

READY_CHANNEL = "org.covey.ready.0"  # the virtio-serial port by which a guest reports that it is ready


@dataclass(frozen=True, slots=True)
class DomainDisk:
    """A disk of a guest: vda is index 0. `volume` lies in a pool. The guest knows the disk by `serial`; "": by the volume's id."""

    index: int
    volume: Volume
    serial: str = ""

    @property
    def identity(self) -> str:
        return self.serial or self.volume.id


@dataclass(frozen=True, slots=True)
class DomainNic:
    """A NIC of a guest. `up` is its link: a NIC that is not is as one without a cable."""

    index: int
    mac: str
    bridge: str
    up: bool = True


def tap_of(instance: str, index: int) -> str:
    """The name of the interface behind a NIC, known before there is one, so that packet rules can name it: at most 15 characters."""
    return f"cvt{hashlib.sha256(instance.encode()).hexdigest()[:10]}-{index}"


@dataclass(frozen=True, slots=True)
class Domain:
    """What EnsureDefined defines. `iso` is the id of the image used as CD-ROM to boot from, "" for none; `seed` says whether the machine holds a
    cloud-init seed for it."""

    instance: str  # UUID; also the domain's UUID and name
    title: str  # the user's name for it, shown by virsh list --title
    cpus: int
    memory: int  # bytes
    accelerator: str  # kvm | tcg
    machine: str  # pinned machine type, such as pc-q35-7.2
    disks: tuple[DomainDisk, ...] = ()
    nics: tuple[DomainNic, ...] = ()
    iso: str = ""
    seed: bool = False
    max_cpus: int = 0  # up to where it can grow while it runs; 0: no further than it began with
    max_memory: int = 0  # bytes, likewise
    firmware: str = "bios"  # bios | uefi
    cpu_model: str = ""  # "" is the usual one; host; x86-64-v2 and so on; or a name of QEMU's
    boot: tuple[str, ...] = ()  # of disk, network, cdrom, in this order; () is the usual one
    raw_xml: str = ""  # what the administrator adds to the domain, as libvirt's XML


@dataclass(frozen=True, slots=True)
class Drift:
    """What a hand other than Covey's changed, a sentence each: of a domain's definition, and of the run under way."""

    definition: tuple[str, ...] = ()
    run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundDomain:
    """A domain as a hypervisor has it.

    `state` is running, paused, stopped or crashed. `reason` tells how it came to stop: `guest` (shut down from within), `covey`
    (stopped by order), `crashed` (QEMU died or the guest panicked), or "" when it runs or never ran."""

    instance: str
    state: str
    reason: str
    generation: int  # of the start that made it run, 0 when it never ran
    job: str  # the tag of the job that defined it
    pid: int = 0  # of QEMU, 0 when it does not run
    definition: str = ""  # digest of the Domain it was defined from
    disks: tuple[str, ...] = ()  # volume ids attached, in index order
    nics: tuple[DomainNic, ...] = ()  # as they are attached, in index order
    live: Shape | None = None  # what the run under way is, None when there is none
    title: str = ""  # the user's name for it, as it was when it was defined
