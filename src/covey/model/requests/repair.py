"""Requests that `cluster verify --fix` makes: one finding, one job (P7)."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_name, check_uuid
from covey.model.pool import Volume
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOrphanVolume(Request, kind="repair.volume"):
    """Remove a volume that no record names."""

    node: str
    volume: Volume

    def check(self) -> None:
        check_name(self.node, "node")
        check_uuid(self.volume.id, "volume")

    @property
    def title(self) -> str:
        return f"repair: remove orphan volume {self.volume.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOrphanDomain(Request, kind="repair.domain"):
    """Stop and remove a domain that no record names."""

    node: str
    domain: str

    def check(self) -> None:
        check_name(self.node, "node")
        check_uuid(self.domain, "domain")

    @property
    def title(self) -> str:
        return f"repair: remove orphan domain {self.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOrphanImage(Request, kind="repair.image"):
    """Remove an image's files that no record names."""

    node: str
    image: str

    def check(self) -> None:
        check_name(self.node, "node")
        check_uuid(self.image, "image")

    @property
    def title(self) -> str:
        return f"repair: remove orphan image {self.image}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairInstance(Request, kind="repair.instance"):
    """Make a node's seed, definition and running state of an instance what the record says. Touches no volume."""

    instance: str

    def check(self) -> None:
        check_name(self.instance, "instance")

    @property
    def title(self) -> str:
        return f"repair: instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairNetwork(Request, kind="repair.network"):
    """Make a network's bridge and rules what the record says."""

    network: str

    def check(self) -> None:
        check_name(self.network, "network")

    @property
    def title(self) -> str:
        return f"repair: network {self.network}"
