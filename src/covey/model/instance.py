"""Instances, their disks and NICs."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.pool import Volume


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of an instance; its index is its name within the instance and stays when others go."""

    index: int
    pool: str  # id
    volume: Volume
    image: str = ""  # id of the image that it is a clone of

    @property
    def size(self) -> int:
        return self.volume.size


@dataclass(frozen=True, slots=True)
class Nic:
    index: int
    network: str  # id
    mac: str
    address: str = ""  # IPv4 without prefix; "" for none


@dataclass(frozen=True, slots=True)
class Instance:
    """A virtual server. A record. `state` is adding, ready or removing; whether it runs is `desired` (running | stopped) and
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
