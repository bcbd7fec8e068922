"""Requests on nodes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from covey.base.config import parse_address
from covey.base.errors import BadInput, check
from covey.model.names import check_name, check_sha256, check_text, check_uuid
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class PingNode(Request, kind="node.ping"):
    """See that a node's agent carries out steps: a job that changes nothing."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"node ping {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyNode(Request, kind="node.modify"):
    """Change what is recorded of a node; None leaves a field as it is. `address` is HOST or HOST:PORT; `storage_address` is "" for none."""

    node: str
    name: str | None = None
    address: str | None = None
    storage_address: str | None = None
    notes: str | None = None

    def check(self) -> None:
        check_name(self.node, "node")
        if self.name is not None:
            check_name(self.name, "name")
        if self.address is not None:
            _check_reachable(self.address if has_port(self.address) else f"{self.address}:1")
        _check_storage(self.storage_address or "")
        if self.notes is not None:
            check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"node modify {self.node}"


INVITED_FOR_S = 3600.0
LONGEST_INVITATION_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteNode(Request, kind="node.invite"):
    """A word with which one machine may join, once and within `expires_s`. The service draws it, shows it once and keeps `digest`."""

    expires_s: float = INVITED_FOR_S
    digest: str = ""

    def check(self) -> None:
        check(
            0 < self.expires_s <= LONGEST_INVITATION_S,
            BadInput("an invitation is good for up to 30 days", "expires_s", "leave it out for an hour"),
        )
        check_sha256(self.digest, "digest")

    @property
    def title(self) -> str:
        return "node invite"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinNode(Request, kind="node.join"):
    """A machine, whose agent has the id `id` and will listen at `address`, becomes a node. `signing_request` (PKCS #10, PEM) is for its
    certificate; `invitation` is the token that lets it."""

    id: str
    name: str
    address: str
    signing_request: str
    invitation: str = ""
    storage_address: str = ""

    def check(self) -> None:
        check_uuid(self.id, "id")
        check_name(self.name, "name")
        _check_reachable(self.address)
        _check_storage(self.storage_address)
        if self.invitation:
            check_name(self.invitation, "invitation")

    @property
    def title(self) -> str:
        return f"node join {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNode(Request, kind="node.remove"):
    """Take a machine that hosts nothing out of the cluster: its agent's and controller's certificates count no more."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"node remove {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EquipNode(Request, kind="node.equip"):
    """Give a node all that the cluster's nodes have: pools, networks, firewalls. Done by itself for one that joins, or was away while such were
    made; only then may it host."""

    node: str

    def check(self) -> None:
        check_name(self.node, "node")

    @property
    def title(self) -> str:
        return f"node equip {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaddressNode(Request, kind="node.readdress"):
    """Write down where a node's agent listens. Covey asks for it itself."""

    node: str
    address: str

    def check(self) -> None:
        check_name(self.node, "node")
        _check_reachable(self.address)

    @property
    def title(self) -> str:
        return f"node {self.node} listens at {self.address}"


def has_port(address: str) -> bool:
    """Whether it is HOST:PORT: an IPv6 address alone has colons of its own."""
    return "]:" in address if "[" in address else address.count(":") == 1


def _check_storage(address: str) -> None:
    if address:
        check(
            "%" not in address and not has_port(address),
            BadInput("an IP address, without port or zone", "storage_address", "such as 10.1.0.2"),
        )
        _check_reachable(f"{address}:1", "storage_address")


def _check_reachable(address: str, field: str = "address") -> None:
    """Raises BadInput for what other machines cannot connect to."""
    host, port = parse_address(address)
    check(port, BadInput("the port must be one that others can reach", field, "such as 10.0.0.2:7444"))
    try:
        where = ipaddress.ip_address(host)
    except ValueError:
        raise BadInput(f"{host[:80]!r} is no IP address", field, "such as 10.0.0.2:7444") from None
    check(not where.is_unspecified, BadInput("others cannot reach that", field, "name one of the machine's addresses"))
