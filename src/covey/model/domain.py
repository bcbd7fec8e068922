"""A virtual machine as a hypervisor is told to make it: everything resolved, nothing to decide."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.pool import Volume

READY_CHANNEL = "org.covey.ready.0"  # the virtio-serial port by which a guest reports that it is ready


@dataclass(frozen=True, slots=True)
class DomainDisk:
    """A disk of a guest: vda is index 0. `volume` lies in a pool."""

    index: int
    volume: Volume


@dataclass(frozen=True, slots=True)
class DomainNic:
    index: int
    mac: str
    bridge: str


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
