"""A store that several machines share: the small file that says where etcd is, and where this controller takes in what others pass on.

    {"endpoints": ["10.0.0.1:2379", "10.0.0.2:2379"],
     "certificate": "etcd.pem", "key": "etcd.key", "ca": "ca.pem",
     "controllers": "10.0.0.1:7445"}

Paths are relative to the file's directory. `endpoints` are etcd's members, the nearest first. `controllers` is HOST:PORT, or "unix:" and a path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covey.base.errors import Refused
from covey.base.identity import CertificateFiles


@dataclass(frozen=True, slots=True)
class Shared:
    """What the file says."""

    endpoints: tuple[str, ...]
    files: CertificateFiles
    controllers: str


def read_shared(path: Path) -> Shared | None:
    """None without the file: the records are this machine's own. Raises Refused for one that makes no sense."""
    if not path.exists():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        files = CertificateFiles(*(path.parent / str(said[name]) for name in ("certificate", "key", "ca")))
        return Shared(tuple(map(str, said["endpoints"])), files, str(said["controllers"]))
    except (ValueError, KeyError, TypeError) as error:
        advice = "restore it, or remove it if the records are this machine's own"
        raise Refused(f"it does not say where etcd is: {error!r}", str(path), advice) from error
