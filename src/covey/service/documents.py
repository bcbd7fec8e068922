"""Records as people read them: objects by name, times as RFC 3339, one function a noun."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from covey.base.clock import render_time
from covey.base.errors import from_json
from covey.model import codec
from covey.model.backup import Backup
from covey.model.cluster import Cluster
from covey.model.domain import tap_of
from covey.model.event import Event, render_cursor
from covey.model.filter import OF_FIREWALL, Rule
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Disk, Instance, Nic, Observed
from covey.model.network import Forward, Network
from covey.model.node import Node
from covey.model.pool import Pool
from covey.model.removed import Removed
from covey.model.shape import Pending, pending, shape_of
from covey.model.snapshot import Layer, Snapshot
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.placement.choose import HOST_RESERVE
from covey.placement.links import missing_link
from covey.planner.filters import users_of
from covey.planner.instance.modify import named_pending

Document = dict[str, Any]
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@lru_cache(maxsize=20_000)
def at(seconds: float) -> str | None:
    """A time as text; None for "not yet"."""
    return render_time(min(seconds, LATEST)) if seconds > 0 else None


def problem(error: dict[str, Any], status: int = 0) -> Document:
    """An error as RFC 9457 has it, from what CoveyError.to_json wrote."""
    known = from_json(error)
    return {
        "type": f"https://covey.invalid/errors/{known.kind}",
        "title": known.kind,
        "status": status or known.status,
        "detail": known.what,
        "object": known.object,
        "hint": known.hint,
    }


def name_of(view: ClusterView, collection: str, id: str) -> str:
    """The name of what has this id; the id itself once it is gone."""
    record = view.find(collection, id)
    return record.name if record else id


def cluster(view: ClusterView, record: Cluster) -> Document:
    return {
        "name": record.name,
        "id": record.uuid,
        "accelerator": record.accelerator,
        "accelerator_why": record.accelerator_why,
        "mac_prefix": record.mac_prefix,
        "created_at": at(record.created_at),
        "defaults": codec.encode(record.defaults),
        "notes": record.notes,
        "nodes": len(view.collections["node"]),
        "instances": len(view.collections["instance"]),
        "backup": backup(view, view.find("backup", "last") or Backup()),
    }


def backup(view: ClusterView, record: Backup) -> Document:
    node = view.find("node", record.node)
    return {
        "made_at": at(record.made_at),
        "node": node.name if node else record.node,
        "file": record.file,
        "size": record.size,
        "failed_at": at(record.failed_at),
        "error": record.error,
    }


def node(view: ClusterView, record: Node) -> Document:
    told = view.telemetry.get(record.id)
    pools = sorted(view.all("pool", Pool), key=lambda pool: pool.name)
    return {
        "name": record.name,
        "id": record.id,
        "address": record.address,
        "storage_address": record.storage_address,
        "drained_at": at(record.drained_at),
        "drain_reason": record.drain_reason,
        "state": record.state,
        "notes": record.notes,
        "created_at": at(record.created_at),
        "answers": told is not None,
        "as_of": at(told.as_of) if told else None,
        "hostname": told.hostname if told else "",
        "boot_id": told.boot_id if told else "",
        "kernel": told.kernel if told else "",
        "hypervisor": told.hypervisor if told else "",
        "uptime_s": told.uptime_s if told else 0.0,
        "cpus": told.cpus if told else 0,
        "cpu_percent": told.cpu_percent if told else 0.0,
        "load1": told.load1 if told else 0.0,
        "memory": told.memory if told else 0,
        "memory_free": told.memory_free if told else 0,
        "memory_promised": view.memory_used.get(record.id, 0),
        "memory_reserved": HOST_RESERVE,
        "instances": sum(1 for instance in view.instances if instance.node == record.id),
        "cpu_models": list(told.capabilities.cpu_models.get(view.cluster.accelerator, ())) if told else [],
        "firmwares": list(told.capabilities.firmwares) if told else [],
        "pools": [_room(view, record, each) for each in pools if each.capability.holds_volumes],
        "problems": list(told.problems) if told else [],
    }


def _room(view: ClusterView, on: Node, record: Pool) -> Document:
    """Room of a pool on one node; size and free are null while its node does not tell them."""
    told = view.telemetry.get(on.id)
    space = told.pools.get(record.id) if told else None
    return {
        "pool": record.name,
        "size": space.size if space else None,
        "free": space.free if space else None,
        "claimed": view.claimed.get(f"{on.id}/{record.id}", 0),
        "promised": sum(
            disk.size
            for instance in view.instances
            if instance.node == on.id
            for disk in instance.disks
            if disk.pool == record.id
        )
        + sum(layer.volume.size for layer in view.layers if layer.node == on.id and layer.pool == record.id),
    }


def pool(view: ClusterView, record: Pool) -> Document:
    nodes = sorted(view.all("node", Node), key=lambda each: each.name)
    rooms = [{"node": each.name, **_room(view, each, record)} for each in nodes] if record.capability.holds_volumes else []
    for room in rooms:
        del room["pool"]
    return {
        "name": record.name,
        "id": record.id,
        "template": record.place.template,
        "path": record.place.path,
        "format": record.format,
        "created_at": at(record.created_at),
        "nodes": rooms,
        "users": sorted(i.name for i in view.instances if any(disk.pool == record.id for disk in i.disks)),
    }


def image(view: ClusterView, record: Image) -> Document:
    return {
        "name": record.name,
        "id": record.id,
        "source": record.source,
        "state": record.state,
        "format": record.format,
        "size": record.size,
        "file_size": record.file_size,
        "sha256": record.sha256,
        "recipe": codec.encode(record.recipe) if record.recipe else None,
        "notes": record.notes,
        "created_at": at(record.created_at),
        "users": sorted(i.name for i in view.instances if i.iso == record.id or any(disk.image == record.id for disk in i.disks)),
    }


def network(view: ClusterView, record: Network) -> Document:
    return {
        "name": record.name,
        "id": record.id,
        "type": record.type,
        "bridge": record.bridge,
        "links": [_link(view, record, node) for node in sorted(view.all("node", Node), key=lambda node: node.name)],
        "uplink": record.uplink,
        "subnet": record.subnet,
        "gateway": record.gateway,
        "pool_first": record.pool[0],
        "pool_last": record.pool[1],
        "nat": record.nat,
        "subnet6": record.subnet6,
        "gateway6": record.gateway6,
        "pool6_first": record.pool6[0],
        "pool6_last": record.pool6[1],
        "nat6": record.nat6,
        "dns": list(record.dns),
        "reserved": list(record.reserved),
        "host_ports": list(record.host_ports),
        "forwards": [each.name for each in _forwards(view, lambda each: each.network == record.id)],
        "notes": record.notes,
        "created_at": at(record.created_at),
        "addresses_used": len(view.addresses.get(record.id, ())),
        "users": sorted(i.name for i in view.instances if any(nic.network == record.id for nic in i.nics)),
    }


def _link(view: ClusterView, record: Network, node: Node) -> Document:
    here = record.on(node.id)
    return {
        "node": node.name,
        "bridge": here.bridge if here else "",
        "uplink": here.uplink if here else "",
        "missing": missing_link(view, record, node),
    }


def firewall(view: ClusterView, record: Firewall) -> Document:
    return {
        "name": record.name,
        "id": record.id,
        "rules": rules(view, record.rules),
        "notes": record.notes,
        "created_at": at(record.created_at),
        "users": users_of(view, record.id),
    }


def rules(view: ClusterView, records: Iterable[Rule]) -> list[Document]:
    """Rules, with the firewalls that they name by name."""
    return [{**codec.encode(rule), "peer": _peer(view, rule.peer)} for rule in records]


def _peer(view: ClusterView, peer: str) -> str:
    if not peer.startswith(OF_FIREWALL):
        return peer
    return f"{OF_FIREWALL}{name_of(view, 'firewall', peer.removeprefix(OF_FIREWALL))}"


def forward(view: ClusterView, record: Forward) -> Document:
    return {
        "name": record.name,
        "protocol": record.protocol,
        "port": record.port,
        "network": name_of(view, "network", record.network),
        "instance": name_of(view, "instance", record.instance),
        "to_port": record.to_port,
        "addresses": _reached(view, record),
        "sources": list(record.sources),
        "created_at": at(record.created_at),
    }


def _reached(view: ClusterView, record: Forward) -> list[str]:
    """The addresses to which a forward leads now."""
    instance: Instance | None = view.find("instance", record.instance)
    nics = instance.nics if instance else ()
    return [address for nic in nics if nic.network == record.network for address in nic.addresses]


def _forwards(view: ClusterView, wanted: Callable[[Forward], bool]) -> list[Forward]:
    return sorted(filter(wanted, view.all("forward", Forward)), key=lambda each: (each.protocol, each.port))


def snapshot(view: ClusterView, record: Snapshot) -> Document:
    """`current`: the disks of the instance lie right on it, so that a revert loses only what was written since."""
    owner: Instance | None = view.find("instance", record.instance)
    disks = []
    for disk in record.disks:
        layer: Layer | None = view.find("layer", disk.layer)
        pool = name_of(view, "pool", layer.pool) if layer else ""
        disks.append({"index": disk.index, "size": layer.volume.size if layer else 0, "pool": pool, "layer": disk.layer})
    bases = {disk.base for disk in owner.disks} if owner else set()
    return {
        "name": record.name,
        "id": record.id,
        "instance": owner.name if owner else record.instance,
        "created_at": at(record.created_at),
        "quiesced": record.quiesced,
        "current": bool(bases) and {disk.layer for disk in record.disks} <= bases,
        "size": sum(disk["size"] for disk in disks),
        "disks": disks,
        "notes": record.notes,
    }


def token(view: ClusterView, record: Token) -> Document:
    return {
        "name": record.name,
        "id": record.id,
        "role": record.role,
        "created_at": at(record.created_at),
        "expires_at": at(record.expires_at),
    }


def instance(view: ClusterView, record: Instance) -> Document:
    """Without what is live: see `instance_live`."""
    observed = view.observed(record.id)
    ready = bool(observed.ready_generation) and observed.ready_generation == observed.generation and observed.state == "running"
    return {
        "name": record.name,
        "id": record.id,
        "node": name_of(view, "node", record.node),
        "cpus": record.cpus,
        "memory": record.memory,
        "machine": record.machine,
        "state": observed.state if record.state == "ready" else record.state,
        "since_at": at(observed.since),
        "reason": observed.reason,
        "desired": record.desired,
        "desired_by": record.desired_by,
        "generation": record.generation,
        "pid": observed.pid,
        "ready": ready,
        "ready_at": at(observed.ready_at) if ready else None,
        "ready_status": observed.ready_status,
        "ready_s": observed.ready_s,
        "addresses": _addresses(record, observed),
        "disks": [disk(view, each) for each in record.disks],
        "nics": [nic(view, record, each) for each in record.nics],
        "forwards": [
            f"{each.protocol}/{each.port} to {each.to_port}" for each in _forwards(view, lambda each: each.instance == record.id)
        ],
        "iso": name_of(view, "image", record.iso) if record.iso else "",
        "image": next((name_of(view, "image", disk.image) for disk in record.disks if disk.image), ""),
        "firewalls": [name_of(view, "firewall", id) for id in record.firewalls],
        "tags": list(record.tags),
        "owner": record.owner,
        "protected": record.protected,
        "notes": record.notes,
        "ssh_keys": list(record.ssh_keys),
        "created_at": at(record.created_at),
        "protection": "none (plain)" if record.disks else "none (no disk)",
        "remark": _remark(view, record, observed),
        "max_cpus": record.max_cpus,
        "max_memory": record.max_memory,
        "firmware": record.firmware,
        "cpu_model": record.cpu_model,
        "boot": list(record.boot),
        "raw_xml": record.raw_xml,
        "pending": [codec.encode(one) for one in _pending(view, record, observed)],
        "restart_at": at(observed.restart_at),
        "crashes": len(observed.crashes),
        "gave_up": observed.gave_up,
    }


def disk(view: ClusterView, record: Disk) -> Document:
    return {
        "index": record.index,
        "size": record.size,
        "pool": name_of(view, "pool", record.pool),
        "format": record.volume.format,
        "image": name_of(view, "image", record.image) if record.image else "",
        "volume": record.volume.id,
    }


def nic(view: ClusterView, instance: Instance, record: Nic) -> Document:
    return {
        "index": record.index,
        "network": name_of(view, "network", record.network),
        "mac": record.mac,
        "address": record.address,
        "up": record.up,
        "guarded": record.guarded,
        "also": list(record.also),
        "limit_in": record.limit_in,
        "limit_out": record.limit_out,
        "firewalls": [name_of(view, "firewall", id) for id in record.firewalls],
        "rules": rules(view, record.rules),
        "tap": tap_of(instance.id, record.index),
        "address6": record.address6,
    }


def removed(view: ClusterView, record: Removed) -> Document:
    instance = record.instance
    return {
        "id": record.id,
        "what": record.what,
        "name": instance.name,
        "disk": record.disk.index if record.what == "disk" else None,
        "node": name_of(view, "node", instance.node),
        "disks": len(instance.disks),
        "size": sum(disk.size for disk in instance.disks),
        "used": record.used,
        "addresses": [address for nic in instance.nics for address in nic.addresses] if record.what == "instance" else [],
        "removed_at": at(record.removed_at),
        "keep_until_at": at(record.keep_until),
        "by": record.by,
        "reason": record.reason,
    }


def instance_live(view: ClusterView, record: Instance) -> Document:
    """What a running instance uses now, by telemetry; null when nothing is told."""
    told = view.telemetry.get(record.node)
    use = told.instances.get(record.id) if told else None
    return {"cpu_percent": use.cpu_percent if use else None, "memory_used": use.memory if use else None}


LIVE_FIELDS = frozenset({"cpu_percent", "memory_used"})


def _addresses(record: Instance, observed: Observed) -> list[str]:
    """Those that were given out, then others that the guest has told of."""
    given = [address for nic in record.nics for address in nic.addresses]
    return list(dict.fromkeys([*given, *observed.addresses]))


_BETWEEN = {
    "adding": "being made",
    "removing": "being removed",
    "purging": "being removed for good",
    "restoring": "being restored",
}


def _remark(view: ClusterView, record: Instance, observed: Observed) -> str:
    if record.state != "ready":
        return _BETWEEN.get(record.state, record.state)
    if record.node not in view.telemetry:
        return f"{name_of(view, 'node', record.node)} does not answer"
    if observed.gave_up:
        return f"gave up after {len(observed.crashes)} crashes"
    if observed.restart_at and observed.state == "crashed":
        return "crashed, restarts soon"
    if observed.state == "missing":
        return "its node has no such domain"
    if record.desired == "running" and observed.state in ("stopped", "crashed"):
        return "should run"
    if record.desired == "stopped" and observed.state in ("running", "paused"):
        return "should be stopped"
    waits = _pending(view, record, observed)
    return f"at next start: {', '.join(one.sentence for one in waits)}" if waits else ""


def _pending(view: ClusterView, record: Instance, observed: Observed) -> tuple[Pending, ...]:
    """What the run under way does not have yet."""
    return named_pending(view, pending(shape_of(record), observed.live)) if observed.live else ()


def event(record: Event) -> Document:
    return {
        "cursor": render_cursor(record.cursor),
        "at": at(record.at),
        "kind": record.kind,
        "object": record.object,
        "text": record.text,
        "job": record.job or None,
    }
