"""Identifiers and addresses drawn from a request's seed, so that planning twice draws the same (P6)."""

from __future__ import annotations

import hashlib
import uuid

from covey.base.errors import NoSpace
from covey.model.request import Request
from covey.model.view import ClusterView

_SPACE = uuid.UUID("5b0f6f0e-6c2b-4c86-9a51-6f1f4b1d2a70")  # of our own UUIDs (RFC 9562, version 5)


def draw_uuid(request: Request, what: str) -> str:
    return str(uuid.uuid5(_SPACE, f"{request.seed}/{what}"))


def draw_mac(view: ClusterView, request: Request, what: str, taken: set[str]) -> str:
    """A MAC address under the cluster's prefix that no instance has. Raises NoSpace when 1,000 draws were all taken."""
    for attempt in range(1000):
        digest = hashlib.sha256(f"{request.seed}/{what}/{attempt}".encode()).hexdigest()
        mac = f"{view.cluster.mac_prefix}:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
        if mac not in view.macs and mac not in taken:
            return mac
    raise NoSpace("nearly all MAC addresses of the prefix are taken", f"cluster {view.cluster.name}", "give one: --nic mac=...")
