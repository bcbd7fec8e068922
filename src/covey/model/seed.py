"""The cloud-init NoCloud seed: what a guest learns at its first boot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeedNic:
    """Static configuration of one NIC; `address` is "" when the guest gets none."""

    mac: str
    address: str  # 10.77.0.10/24
    gateway: str
    dns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seed:
    """What the seed says; user-data may hold secrets and is passed apart (P13)."""

    instance: str
    hostname: str
    ssh_keys: tuple[str, ...]
    nics: tuple[SeedNic, ...]
