"""For each kind of step, a small story whose last request makes a plan with it. A new kind without a row fails the crash matrix."""

from __future__ import annotations

from dataclasses import dataclass

from covey.model.request import Request
from covey.model.requests.cluster import InitCluster
from covey.model.requests.disk import AddDisk, GrowDisk, RemoveDisk
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import AddInstance, DiskWish, RebootInstance, RemoveInstance, StopInstance
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.requests.node import PingNode
from covey.model.requests.pool import AddPool, RemovePool

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Row:
    """`before` are the requests that must have succeeded; `is_blank` worlds have no cluster yet."""

    request: Request
    before: tuple[Request, ...] = ()
    is_blank: bool = False


WEB = AddInstance(name="web1", image="debian-12", disks=(DiskWish(), DiskWish(size=GIB)))
ROWS: dict[str, Row] = {
    "accelerator@1": Row(InitCluster(name="flock"), is_blank=True),
    "answer@1": Row(PingNode(node="n1")),
    "asked-to-stop@1": Row(StopInstance(instance="web1"), (WEB,)),
    "defined@1": Row(WEB),
    "disk-attached@1": Row(AddDisk(instance="web1", size=GIB), (WEB,)),
    "disk-detached@1": Row(RemoveDisk(instance="web1", disk=1), (WEB,)),
    "generation@1": Row(RebootInstance(instance="web1"), (WEB,)),
    "guest-sees-size@1": Row(GrowDisk(instance="web1", disk=1, size=3 * GIB), (WEB,)),
    "image-absent@1": Row(RemoveImage(image="extra"), (AddImage(name="extra", source="/images/extra.qcow2"),)),
    "image-built@1": Row(BuildImage(name="extra")),
    "image-fetched@1": Row(AddImage(name="extra", source="/images/extra.qcow2")),
    "instance-absent@1": Row(RemoveInstance(instance="web1"), (WEB,)),
    "network-absent@1": Row(RemoveNetwork(network="blue"), (AddNetwork(name="blue", subnet="10.9.0.0/24"),)),
    "network@1": Row(AddNetwork(name="blue", subnet="10.9.0.0/24")),
    "pool-absent@1": Row(RemovePool(pool="fast"), (AddPool(name="fast", path="/srv/fast"),)),
    "pool@1": Row(AddPool(name="fast", path="/srv/fast")),
    "running@1": Row(WEB),
    "seed@1": Row(WEB),
    "stopped@1": Row(StopInstance(instance="web1"), (WEB,)),
    "volume-absent@1": Row(RemoveInstance(instance="web1"), (WEB,)),
    "volume-size@1": Row(GrowDisk(instance="web1", disk=1, size=3 * GIB), (WEB, StopInstance(instance="web1"))),
    "volume@1": Row(WEB),
}
