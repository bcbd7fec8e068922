"""Who one machine of a cluster is to another, as TLS shows it. The certificates themselves are of base/certificates.py.

The names are of no DNS: `NODE-ID.agent.covey` may be given orders as that node, `NODE-ID.controller.covey` may give them. So TLS itself
checks for *which* node a certificate is (RFC 9525: the name that was asked for), and addresses and host names may change freely.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_AGENT, _CONTROLLER = ".agent.covey", ".controller.covey"


class CertificateFiles(NamedTuple):
    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate says of its bearer: ids of nodes, "" for what it is not."""

    agent: str = ""
    controller: str = ""


def agent_name(node: str) -> str:
    """The name that the agent's door of the node with this id has."""
    return f"{node}{_AGENT}"


def controller_name(node: str) -> str:
    return f"{node}{_CONTROLLER}"


def files_in(directory: Path) -> CertificateFiles:
    return CertificateFiles(directory / "node.pem", directory / "node.key", directory / "ca.pem")


def identity_of(peer: Mapping[str, Any] | None) -> Identity:
    """Who is at the other end, from what ssl.SSLObject.getpeercert() tells of a certificate that it has verified."""
    return named_identity([value for kind, value in (peer or {}).get("subjectAltName", ()) if kind == "DNS"])


def named_identity(names: list[str]) -> Identity:
    """Who has these names."""
    agents = [name.removesuffix(_AGENT) for name in names if name.endswith(_AGENT)]
    controllers = [name.removesuffix(_CONTROLLER) for name in names if name.endswith(_CONTROLLER)]
    return Identity(agents[0] if agents else "", controllers[0] if controllers else "")


def door_context(files: CertificateFiles) -> ssl.SSLContext:
    """What a door speaks that only the cluster's own may enter: TLS 1.3, a certificate of the authority asked of whoever comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _armed(context, files)


def caller_context(files: CertificateFiles) -> ssl.SSLContext:
    """What we speak when we go to another node; name it by agent_name or controller_name as the server's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name that is asked for
    return _armed(context, files)


def _armed(context: ssl.SSLContext, files: CertificateFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.ca)
    return context
