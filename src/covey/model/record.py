"""Records: what the store keeps, each under `state/<collection>/<id>`, with the version of its schema."""

from __future__ import annotations

import json
from typing import Any

from covey.base.errors import Bug, Refused
from covey.model import codec
from covey.model.backup import Backup
from covey.model.cluster import Cluster
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Instance, Observed
from covey.model.job import Debris, EndedJob, Job, Leadership, PlanRecord
from covey.model.network import Forward, Network
from covey.model.node import Node
from covey.model.pool import Pool
from covey.model.removed import Removed
from covey.model.restoration import Restoration
from covey.model.run import Run
from covey.model.snapshot import Layer, Snapshot
from covey.model.stale import Stale
from covey.model.token import Token

PREFIX = "state/"  # what the view watches
HISTORY = "history/job/"  # ended jobs
SECRETS = "secret/"  # outside the view (P13)
IDEMPOTENCY = "idempotency/"

Record = (
    Cluster
    | Node
    | Pool
    | Image
    | Network
    | Firewall
    | Forward
    | Instance
    | Observed
    | Run
    | Removed
    | Layer
    | Snapshot
    | Stale
    | Job
    | PlanRecord
    | Debris
    | Leadership
    | Token
    | Backup
    | Restoration
)

COLLECTIONS: dict[str, type[Any]] = {
    "cluster": Cluster,
    "node": Node,
    "pool": Pool,
    "image": Image,
    "network": Network,
    "firewall": Firewall,
    "instance": Instance,
    "observed": Observed,
    "run": Run,
    "removed": Removed,
    "layer": Layer,
    "snapshot": Snapshot,
    "stale": Stale,
    "job": Job,
    "plan": PlanRecord,
    "debris": Debris,
    "leadership": Leadership,
    "token": Token,
    "forward": Forward,
    "backup": Backup,
    "restoration": Restoration,
}
_NAMES = {cls: name for name, cls in COLLECTIONS.items()}
VERSION = 1  # of the records' schema; raised with a migration


def key_of(record: Record) -> str:
    return f"{PREFIX}{_NAMES[type(record)]}/{record_id(record)}"


def key(collection: str, id: object) -> str:
    if collection not in COLLECTIONS:
        raise Bug(f"there is no collection {collection!r}")
    return f"{PREFIX}{collection}/{id}"


def record_id(record: Record) -> str:
    """Numbers sort as numbers: job ids are padded."""
    return f"{record.id:010d}" if isinstance(record.id, int) else record.id


def to_bytes(record: object) -> bytes:
    return encoded(codec.encode(record))


def encoded(record: dict[str, Any]) -> bytes:
    """An encoded record as the store keeps it."""
    return json.dumps({"version": VERSION, **record}, separators=(",", ":"), ensure_ascii=False).encode()


def ended_from_bytes(data: bytes) -> EndedJob:
    """A job from the history."""
    return codec.from_bytes(EndedJob, data)


def from_bytes(record_key: str, data: bytes) -> Record:
    """The record under a `state/` key. Raises Refused for a record of a newer release."""
    return decoded(record_key, json.loads(data))


def decoded(record_key: str, value: dict[str, Any]) -> Record:
    """The record of an encoded one. Raises Refused for one of a newer release."""
    if value.get("version", 0) > VERSION:
        raise Refused(f"the record has schema {value['version']}, this release knows {VERSION}", record_key, "upgrade Covey here")
    collection = record_key.removeprefix(PREFIX).partition("/")[0]
    record: Record = codec.decode(COLLECTIONS[collection], value)
    return record
