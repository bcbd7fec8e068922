"""The cloud-init NoCloud seed: what a guest learns at its first boot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeedNic:
    """Configuration of one NIC; `address` and `address6` are "" when the guest gets none of that family. A gateway may be outside of the
    address's subnet. With `asks`, the guest asks the site for addresses (DHCP) in place of all that."""

    mac: str
    address: str  # 10.77.0.10/24
    gateway: str
    dns: tuple[str, ...]
    address6: str = ""  # fd00:77::10/64
    gateway6: str = ""
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Seed:
    """What the seed says; user-data may hold secrets and is passed apart (P13)."""

    instance: str
    hostname: str
    ssh_keys: tuple[str, ...]
    nics: tuple[SeedNic, ...]
    identity: str = ""  # what cloud-init knows the machine by; "" is the instance's id
    sealed: bool = False  # the guest is to get a new machine id, once
