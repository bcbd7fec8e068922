"""`cluster export`: what is wanted of the cluster, as one document that changes only when the wishes do.

It is made from the records themselves, whatever collections and fields there are: objects by name in the order of their names, ids replaced
by names, what equals its default left out. Left out as well: what only happened (states, times, generations), and secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from covey import __version__
from covey.base.hiding import without_secret_texts
from covey.base.units import exact_size
from covey.model import codec
from covey.model.instance import Instance, Nic
from covey.model.network import Network
from covey.model.record import COLLECTIONS
from covey.model.view import ClusterView

Document = dict[str, Any]
HAPPENED = (
    "observed",
    "job",
    "plan",
    "debris",
    "leadership",
    "removed",
    "snapshot",
    "layer",
    "backup",
    "restoration",
)  # collections that are no wish of anybody's
GUARDED = {"token": "token.read"}  # collections that not everybody who may read the rest may see
# Fields of records that are no wish, or nobody else's business.
_DROPPED = {
    "id",
    "uuid",
    "created_at",
    "secret",
    "seeded",
    "digest",
    "generation",
    "state",
    "desired_by",
    "accelerator_why",
    "expected",
    "identity",  # what a clone's guest was told of itself: an instance made anew begins with disks of its own
    "sealed",
}
# Fields of instances under the names that `instance add -f` reads.
_READ_AS = {"ssh_keys": "ssh-key", "tags": "tag", "firewalls": "firewall"}
_SIZES = ("memory", "max_memory")
_FIRST = ("name", "uuid", "node", "cpus", "memory", "image", "iso", "disk", "nic", "ssh-key", "tag", "notes", "start")


def export(view: ClusterView, may: frozenset[str]) -> Document:
    """The document, with the guarded collections that somebody with these permissions may see. Raises Refused before `cluster init`."""
    view.check_initialised()
    names = {id: held[1].name for kept in view.collections.values() for id, held in kept.items() if hasattr(held[1], "name")}
    document: Document = {"covey": __version__, "cluster": _wishes(view.cluster, names)}
    for collection in COLLECTIONS:
        if collection == "cluster" or collection in HAPPENED or GUARDED.get(collection, "") not in {"", *may}:
            continue
        records = sorted((held[1] for held in view.collections[collection].values()), key=_name)
        document[f"{collection}s"] = [
            _instance(record, view, names) if isinstance(record, Instance) else _wishes(record, names) for record in records
        ]
    return document


def _name(record: Any) -> str:
    return str(getattr(record, "name", record.id))


def _wishes(record: Any, names: Mapping[str, str]) -> Document:
    """A record's fields that somebody asked for."""
    encoded = codec.encode(record)
    found: Document = {"name": record.name} if hasattr(record, "name") else {}
    for field in fields(record):
        value = getattr(record, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in _DROPPED and value != default:
            found[field.name] = _named(encoded[field.name], names)
    return found


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """The value with ids replaced by names."""
    if isinstance(value, str):
        kind, colon, id = value.rpartition(":")  # "firewall:ID"
        return names.get(value) or (f"{kind}:{names[id]}" if colon and id in names else without_secret_texts(value))
    if isinstance(value, Mapping):
        return {key: _named(inner, names) for key, inner in value.items()}
    return [_named(inner, names) for inner in value] if isinstance(value, list) else value


def _instance(record: Instance, view: ClusterView, names: Mapping[str, str]) -> Document:
    """An instance as `instance add -f` reads it, and what that does not read."""
    wishes = {_READ_AS.get(key, key): value for key, value in _wishes(record, names).items()}
    image = record.disks[0].image if record.disks else ""
    wishes |= {"uuid": record.id, "memory": record.memory}
    wishes |= {key: exact_size(wishes[key]) for key in _SIZES if key in wishes}
    if image:
        wishes["image"] = names.get(image, image)
    wishes.pop("disks", None)
    wishes["disk"] = [
        {"size": exact_size(disk.size), "pool": names.get(disk.pool, disk.pool), "format": disk.volume.format}
        for disk in record.disks
    ]
    wishes.pop("nics", None)
    wishes["nic"] = [_nic(nic, view, names) for nic in record.nics] or ["none"]
    if wishes.pop("desired", "running") == "stopped":
        wishes["start"] = False
    ordered = [key for key in _FIRST if key in wishes] + sorted(wishes.keys() - set(_FIRST))
    return {key: wishes[key] for key in ordered if wishes[key] not in ("", [])}


def _nic(nic: Nic, view: ClusterView, names: Mapping[str, str]) -> Document:
    """A family that its network has and the NIC does not is "none", as leaving it out would be "auto"."""
    wishes = _wishes(nic, names)
    wishes.pop("index", None)
    network: Network | None = view.find("network", nic.network)
    has_ipv6 = nic.address6 or (network and network.subnet6)
    return {**wishes, "address": nic.address or "none", **({"address6": nic.address6 or "none"} if has_ipv6 else {})}
