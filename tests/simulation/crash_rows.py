"""For each kind of step, a small story whose last request makes a plan with it. A new kind without a row fails the crash matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace

from covey.model.filter import Rule
from covey.model.request import Request
from covey.model.requests.clone import CloneInstance
from covey.model.requests.cluster import InitCluster
from covey.model.requests.disk import AddDisk, FlattenDisk, GrowDisk, ImportDisk, RemoveDisk
from covey.model.requests.firewall import AddFirewall, RemoveFirewall
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import (
    AddInstance,
    DiskWish,
    MigrateInstance,
    ModifyInstance,
    NicWish,
    RebootInstance,
    RemoveInstance,
    RestoreInstance,
    StopInstance,
)
from covey.model.requests.move import MoveInstance
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.model.requests.node import ModifyNode, PingNode
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.requests.repair import RepairFilters
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.model.transfer import Found

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Row:
    """`before` are the requests that must have succeeded; `is_blank` worlds have no cluster yet."""

    request: Request
    before: tuple[Request, ...] = ()
    is_blank: bool = False
    nodes: int = 1


SAVED = AddSnapshot(instance="web1", name="first")
WEB = AddInstance(name="web1", image="debian-12", disks=(DiskWish(), DiskWish(size=GIB)))
SENT = ImportDisk(
    instance="web1", upload="5f0a3c1e-0000-4000-8000-00000000000a", found=Found("vmdk", GIB, GIB // 2, GIB // 4, "0" * 64)
)
PUBLIC = AddNetwork(
    name="public", type="routed", subnet="192.0.2.0/24", uplink="uplink", pool_first="192.0.2.30", pool_last="192.0.2.39"
)
PUB = AddInstance(name="pub1", nics=(NicWish(network="public"),))
WEB_THERE = AddInstance(name="web2", image="debian-12", node="n2")
ROWS: dict[str, Row] = {
    "accelerator@1": Row(InitCluster(name="flock"), is_blank=True),
    "answer@1": Row(PingNode(node="n1")),
    "asked-to-stop@1": Row(StopInstance(instance="web1"), (WEB,)),
    "copied@1": Row(CloneInstance(instance="web1", name="web2", full=True), (WEB, StopInstance(instance="web1"))),
    "defined@1": Row(WEB),
    "disks-replaced@1": Row(RevertSnapshot(instance="web1", snapshot="first"), (WEB, SAVED, StopInstance(instance="web1"))),
    "flat@1": Row(FlattenDisk(instance="web1", disk=0), (WEB, SAVED)),
    "frozen@1": Row(SAVED, (WEB,)),
    "listening@1": Row(ModifyNode(node="n1", address="10.0.0.9")),
    "expected@1": Row(MigrateInstance(instance="web1"), (replace(WEB, node="n1"), WEB_THERE), nodes=2),
    "migrated@1": Row(MigrateInstance(instance="web1"), (replace(WEB, node="n1"), WEB_THERE), nodes=2),
    "merged@1": Row(RemoveSnapshot(instance="web1", snapshot="first"), (WEB, SAVED)),
    "overlay@1": Row(SAVED, (WEB,)),
    "disk-attached@1": Row(AddDisk(instance="web1", size=GIB), (WEB,)),
    "disk-detached@1": Row(RemoveDisk(instance="web1", disk=1), (WEB,)),
    "filtered@1": Row(ModifyNic(instance="web1", nic=0, limit_in=10**6), (WEB,)),
    "filters-intact@1": Row(RepairFilters(node="n1"), (WEB,)),
    "firewall-absent@1": Row(RemoveFirewall(firewall="web"), (AddFirewall(name="web"),)),
    "firewall@1": Row(AddFirewall(name="ssh", rules=(Rule("in", "tcp", "80"),))),
    "generation@1": Row(RebootInstance(instance="web1"), (WEB,)),
    "guest-sees-size@1": Row(GrowDisk(instance="web1", disk=1, size=3 * GIB), (WEB,)),
    "image-absent@1": Row(RemoveImage(image="extra"), (AddImage(name="extra", source="/images/extra.qcow2"),)),
    "image-brought@1": Row(WEB, (AddInstance(name="first"),), nodes=2),  # which is on the image's own node
    "image-built@1": Row(BuildImage(name="extra")),
    "image-fetched@1": Row(AddImage(name="extra", source="/images/extra.qcow2")),
    "imported@1": Row(SENT, (WEB,)),
    "instance-absent@1": Row(RemoveInstance(instance="web1"), (WEB,)),
    "network-absent@1": Row(RemoveNetwork(network="blue"), (AddNetwork(name="blue", subnet="10.9.0.0/24"),)),
    "not-routed@1": Row(RemoveInstance(instance="pub1"), (PUBLIC, PUB)),
    "network@1": Row(AddNetwork(name="blue", subnet="10.9.0.0/24")),
    "nic-attached@1": Row(AddNic(instance="web1"), (WEB,)),
    "nic-detached@1": Row(RemoveNic(instance="web1", nic=0), (WEB,)),
    "nic-set@1": Row(ModifyNic(instance="web1", nic=0, up=False), (WEB,)),
    "pool-absent@1": Row(RemovePool(pool="fast"), (AddPool(name="fast", path="/srv/fast"),)),
    "pool@1": Row(AddPool(name="fast", path="/srv/fast")),
    "redefined@1": Row(ModifyInstance(instance="web1", cpus=2, memory=2 * GIB), (WEB,)),
    "route-follows@1": Row(MigrateInstance(instance="pub1"), (PUBLIC, replace(PUB, node="n1")), nodes=2),
    "routed@1": Row(PUB, (PUBLIC,)),
    "running@1": Row(WEB),
    "seed@1": Row(WEB),
    "stopped@1": Row(StopInstance(instance="web1"), (WEB,)),
    "upload-absent@1": Row(SENT, (WEB,)),
    "volume-absent@1": Row(RemoveInstance(instance="web1", purge=True), (WEB,)),
    "volume-size@1": Row(GrowDisk(instance="web1", disk=1, size=3 * GIB), (WEB, StopInstance(instance="web1"))),
    "volume-brought@1": Row(MoveInstance(instance="web1"), (WEB, StopInstance(instance="web1")), nodes=2),
    "volume-offered@1": Row(MoveInstance(instance="web1"), (WEB, StopInstance(instance="web1")), nodes=2),
    "volume@1": Row(WEB),
    "volumes-found@1": Row(RestoreInstance(instance="web1", start=True), (WEB, RemoveInstance(instance="web1"))),
}
