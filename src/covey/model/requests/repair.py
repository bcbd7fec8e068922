"""Requests that `cluster verify --fix` makes: one finding, one job (P7)."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.names import check_line, check_name, check_uuid
from covey.model.pool import Place, Volume
from covey.model.request import Request
from covey.model.requests.network import check_interface


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
class RemoveOrphanUpload(Request, kind="repair.upload"):
    """Remove an image that was sent and that no job makes a disk of."""

    node: str
    place: Place
    upload: str

    def check(self) -> None:
        check_name(self.node, "node")
        check_uuid(self.upload, "upload")

    @property
    def title(self) -> str:
        return f"repair: remove orphan upload {self.upload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOrphanNetwork(Request, kind="repair.bridge"):
    """Remove a bridge of Covey's, and its rules, that no record names; `bridge` is "" when only rules are left."""

    node: str
    network: str
    bridge: str

    def check(self) -> None:
        check_name(self.node, "node")
        check_uuid(self.network, "network")
        check_interface(self.bridge, "bridge")

    @property
    def title(self) -> str:
        return f"repair: remove orphan bridge {self.bridge or self.network}"


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
class RepairFilters(Request, kind="repair.filters"):
    """Make a node's packet rules of NICs what it keeps of them."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"repair: packet rules on {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairNetwork(Request, kind="repair.network"):
    """Make a network's bridge, rules, forwarded ports and routes what the records say."""

    network: str

    def check(self) -> None:
        check_name(self.network, "network")

    @property
    def title(self) -> str:
        return f"repair: network {self.network}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRemoved(Request, kind="repair.purge"):
    """Remove for good what was removed and has been kept long enough, by its id; `name` is what people call it."""

    removed: str
    name: str

    def check(self) -> None:
        check_uuid(self.removed, "removed")
        check_line(self.name, "name")

    @property
    def title(self) -> str:
        return f"purge removed {self.name}"
