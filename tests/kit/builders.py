"""Builders of values: everything has a sensible default, so that a test names only what it is about."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from covey.model.cluster import Cluster
from covey.model.filter import Rule
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Disk, Instance, Nic, Observed
from covey.model.job import Debris, Job, PlanRecord
from covey.model.machine import Capabilities
from covey.model.network import Forward, Network
from covey.model.node import Node, Telemetry
from covey.model.plan import Plan
from covey.model.pool import Place, Pool, Space, Volume
from covey.model.record import Record, key_of
from covey.model.removed import Removed
from covey.model.request import Request
from covey.model.requests.node import PingNode
from covey.model.snapshot import Layer, Snapshot, SnapshotDisk
from covey.model.step import Step, step_kinds
from covey.model.view import ClusterView

GIB = 2**30
CPU_MODELS = ("host", "x86-64-v2", "Nehalem")
CAPABILITIES = Capabilities({"tcg": CPU_MODELS, "kvm": CPU_MODELS}, ("bios", "uefi"))
NOW = 1_800_000_000.0
_NAMES = uuid.UUID("0d4f3f60-3a0e-4b1e-9f0b-5f3f6a1c7e11")


def an_id(name: str) -> str:
    """A UUID that is always the same for the same name."""
    return str(uuid.uuid5(_NAMES, name))


def a_node(name: str = "n1") -> Node:
    return Node(an_id(f"node/{name}"), name, NOW, address=f"10.0.0.{name.removeprefix('n') or 1}:7444")


def a_pool(name: str = "default", template: str = "file", format: str = "qcow2", path: str = "") -> Pool:
    holds = template == "file"
    place = Place(template, (path or f"/srv/{name}") if holds else "")
    return Pool(an_id(f"pool/{name}"), name, place, format if holds else "", NOW)


def a_network(name: str = "lan", subnet: str = "10.77.0", pool: tuple[int, int] = (2, 254)) -> Network:
    """A /24 whose guests get the addresses from the first to the last number of `pool`."""
    return Network(
        an_id(f"network/{name}"),
        name,
        f"cv-{name}"[:15],
        f"{subnet}.0/24",
        f"{subnet}.1",
        (f"{subnet}.{pool[0]}", f"{subnet}.{pool[1]}"),
        True,
        ("9.9.9.9",),
        NOW,
    )


def an_ipv6_network(name: str = "six", subnet: str = "fd00:77", last: int = 0xFFFF, **changes: Any) -> Network:
    """A /64 and no IPv4."""
    none = {"subnet": "", "gateway": "", "pool": ("", ""), "nat": False}
    six = {"subnet6": f"{subnet}::/64", "gateway6": f"{subnet}::1", "pool6": (f"{subnet}::2", f"{subnet}::{last:x}")}
    return replace(a_network(name), **{**none, **six, **changes})


def a_firewall(name: str = "web", rules: tuple[Rule, ...] = (Rule("in", "tcp", "80"),)) -> Firewall:
    return Firewall(an_id(f"firewall/{name}"), name, rules, NOW)


def a_public_network(name: str = "public") -> Network:
    """Guests with addresses of the uplink's own subnet."""
    routed = {"nat": False, "gateway": "169.254.1.1", "uplink": "eth0", "pool": ("192.0.2.30", "192.0.2.39")}
    return replace(a_network(name, "192.0.2"), **routed)  # type: ignore[arg-type]


def a_forward(instance: Instance, port: int = 80, network: Network | None = None, **changes: Any) -> Forward:
    """A TCP port that leads to the same of an instance on `lan`."""
    name = f"tcp-{port}"
    return replace(Forward(name, name, (network or a_network()).id, instance.id, "tcp", port, port, (), NOW), **changes)


def an_image(name: str = "debian-12", state: str = "ready", size: int = 2 * GIB) -> Image:
    return Image(
        an_id(f"image/{name}"),
        name,
        f"/images/{name}.qcow2",
        state,
        NOW,
        "qcow2",
        size,
        size // 8,
        "0" * 64 if state == "ready" else "",
        node=an_id("node/n1"),
    )


def a_volume(name: str = "volume", pool: Pool | None = None, size: int = 10 * GIB, format: str = "qcow2") -> Volume:
    return Volume(an_id(f"volume/{name}"), (pool or a_pool()).place, format, size)


def a_disk(name: str = "web1/0", index: int = 0, pool: Pool | None = None, size: int = 10 * GIB, format: str = "qcow2") -> Disk:
    pool = pool or a_pool()
    return Disk(index, pool.id, a_volume(name, pool, size, format))


def a_nic(index: int = 0, number: int = 10, network: Network | None = None) -> Nic:
    network = network or a_network()
    stem = network.subnet.rpartition(".")[0]
    return Nic(index, network.id, f"02:c0:7e:00:{index:02x}:{number:02x}", f"{stem}.{number}")


def an_instance(name: str = "web1", **changes: Any) -> Instance:
    """A settled instance of 1 GiB on n1 that should run, with a disk of 10 GiB."""
    instance = Instance(
        an_id(f"instance/{name}"),
        name,
        a_node().id,
        1,
        GIB,
        "pc-q35-7.2",
        "ready",
        "running",
        NOW,
        generation=1,
        disks=(a_disk(f"{name}/0"),),
    )
    return replace(instance, **changes)


def a_removed(instance: Instance | None = None, disk: Disk | None = None, **changes: Any) -> Removed:
    """An instance that was removed, or a disk of one."""
    instance = instance or an_instance()
    instance = replace(instance, state="ready", desired="stopped", disks=(disk,) if disk else instance.disks)
    removed = (
        Removed(disk.volume.id, "disk", instance, NOW, NOW) if disk else Removed(instance.id, "instance", instance, NOW, NOW)
    )
    return replace(removed, **{"keep_until": NOW + 7 * 86400, **changes})


def a_snapshot_of(instance: Instance, name: str = "first") -> tuple[Instance, list[Record]]:
    """The instance with its qcow2 disks frozen, and the records of that."""
    frozen = [disk for disk in instance.disks if disk.volume.format == "qcow2"]
    layers = [Layer(disk.volume.id, instance.node, disk.pool, disk.volume, instance.id, NOW, disk.base) for disk in frozen]
    kept = tuple(SnapshotDisk(disk.index, disk.volume.id, disk.serial or disk.volume.id) for disk in frozen)
    disks = tuple(_above(disk, name) if disk in frozen else disk for disk in instance.disks)
    snapshot = Snapshot(an_id(f"snapshot/{instance.name}/{name}"), instance.id, name, NOW, kept)
    return replace(instance, disks=disks), [*layers, snapshot]


def _above(disk: Disk, name: str) -> Disk:
    volume = replace(disk.volume, id=an_id(f"above/{disk.volume.id}/{name}"))
    return replace(disk, volume=volume, base=disk.volume.id, serial=disk.serial or disk.volume.id)


def an_observed(instance: Instance, state: str = "running", **changes: Any) -> Observed:
    running = state == "running"
    seen = Observed(instance.id, state, NOW, generation=instance.generation if running else 0, pid=4711 if running else 0)
    return replace(seen, **changes)


def a_cluster_record(**changes: Any) -> Cluster:
    return replace(Cluster("flock", an_id("cluster"), "tcg", "it was asked for", "02:c0:7e", NOW), **changes)


def a_telemetry(
    memory: int = 64 * GIB,
    spaces: dict[str, Space] | None = None,
    kinds: Iterable[str] | None = None,
    hostname: str = "n1",
) -> Telemetry:
    """What a node says of itself; by default it knows every kind of step."""
    return Telemetry(
        NOW,
        hostname,
        an_id(f"boot/{hostname}"),
        "6.1.0",
        "QEMU 7.2",
        8,
        memory,
        memory,
        kinds=tuple(sorted(step_kinds() if kinds is None else kinds)),
        pools=spaces or {},
        pool_path="/var/lib/covey/pool",
        capabilities=CAPABILITIES,
    )


def records_of(
    nodes: int = 1,
    pools: Sequence[Pool] | None = None,
    networks: Sequence[Network] | None = None,
    images: Sequence[Image] | None = None,
    instances: Sequence[Instance] = (),
    extra: Sequence[Record] = (),
    cluster: Cluster | None = None,
) -> list[Record]:
    """A cluster's records: by default a pool `default`, a network `lan` and an image `debian-12`."""
    return [
        cluster or a_cluster_record(),
        *(a_node(f"n{number + 1}") for number in range(nodes)),
        *((a_pool(),) if pools is None else pools),
        *((a_network(),) if networks is None else networks),
        *((an_image(),) if images is None else images),
        *instances,
        *extra,
    ]


def a_cluster(
    nodes: int = 1,
    pools: Sequence[Pool] | None = None,
    networks: Sequence[Network] | None = None,
    images: Sequence[Image] | None = None,
    instances: Sequence[Instance] = (),
    extra: Sequence[Record] = (),
    cluster: Cluster | None = None,
    memory: int = 64 * GIB,
    space: Space = Space(1000 * GIB, 900 * GIB),
    kinds: Iterable[str] | None = None,
    answering: bool = True,
) -> ClusterView:
    """A view of a cluster whose nodes n1, n2, ... answer and have `space` in each pool."""
    records = records_of(nodes, pools, networks, images, instances, extra, cluster)
    view = ClusterView.of([(key_of(record), record, number + 1) for number, record in enumerate(records)], len(records))
    spaces = {pool.id: space for pool in view.all("pool", Pool) if pool.capability.holds_volumes}
    for node in [node for node in view.all("node", Node) if answering]:
        view = view.with_telemetry(node.id, a_telemetry(memory, spaces, kinds, node.name))
    return view


def asked(request: Request, seed: str = "5eed") -> Request:
    """The request as the service hands it on: with its seed and its time."""
    return replace(request, seed=seed, now=NOW)


def a_job(id: int = 1, request: Request | None = None, **changes: Any) -> Job:
    job = Job(id, request or asked(PingNode(node="n1")), "anna", "queued", NOW)
    return replace(job, **changes)


def a_plan_record(job: int, plan: Plan) -> PlanRecord:
    return PlanRecord(job, plan)


def a_debris(job: int, step: Step, index: int = 0) -> Debris:
    return Debris(f"{job}.{index}", job, step, "no answer within 60 s", NOW)
