"""What people ask of a world, drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from covey.model.filter import Rule
from covey.model.request import Request
from covey.model.requests.clone import CloneInstance
from covey.model.requests.cluster import ModifyCluster
from covey.model.requests.disk import AddDisk, FlattenDisk, GrowDisk, ImportDisk, RemoveDisk, RestoreDisk
from covey.model.requests.drain import DrainNode, EvacuateNode, UndrainNode
from covey.model.requests.firewall import AddFirewall, ModifyFirewall, RemoveFirewall
from covey.model.requests.forward import AddForward, RemoveForward
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import (
    AddInstance,
    DiskWish,
    MigrateInstance,
    ModifyInstance,
    RebootInstance,
    RemoveInstance,
    ResetInstance,
    RestoreInstance,
    StartInstance,
    StopInstance,
)
from covey.model.requests.move import MoveInstance
from covey.model.requests.network import AddNetwork, LinkWish, ModifyNetwork, RemoveNetwork
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.model.requests.node import ModifyNode, PingNode
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.requests.repair import RepairFilters, RepairInstance, RepairNetwork
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.model.requests.token import AddToken, RemoveToken
from covey.model.transfer import Found

GIB = 2**30
Draw = Callable[[Random], Request]


def _web(random: Random) -> str:
    return f"web{random.randrange(6)}"


def _clone(random: Random) -> Request:
    snapshot = random.choice(("", "", "first", "second"))
    return CloneInstance(
        instance=_web(random), name=_web(random), snapshot=snapshot, full=random.random() < 0.4, start=random.random() < 0.5
    )


def _saved(random: Random) -> str:
    return random.choice(("first", "second", "third"))


def _instance(random: Random) -> Request:
    blank = DiskWish(size=random.choice((1, 4)) * GIB, format=random.choice(("", "raw")))
    image = random.choice(("debian-12", "debian-12", "extra", ""))
    first = DiskWish(size=random.choice((0, 4 * GIB))) if image else blank
    start = random.random() < 0.8
    return AddInstance(
        name=_web(random),
        image=image,
        disks=random.choice(((first,), (first, blank), None if image else ())),
        start=start,
        wait_ready=start and random.random() < 0.5,
    )


def _import(random: Random) -> Request:
    upload = f"{random.getrandbits(32):08x}-0000-4000-8000-000000000000"
    size = random.choice((1, 4)) * GIB
    return ImportDisk(
        instance=_web(random), upload=upload, found=Found("vdi", size, size // 2, size // 4), format=random.choice(("", "raw"))
    )


def _rules(random: Random) -> tuple[Rule, ...]:
    return random.choice(((), (Rule("in", "tcp", "80"),), (Rule("in", peer="firewall:web"), Rule("out", "udp"))))


def _nic_change(random: Random) -> dict[str, Any]:
    changes: tuple[dict[str, Any], ...] = (
        {"up": False},
        {"up": True},
        {"network": "blue"},
        {"network": "lan"},
        {"address": "none"},
        {"guarded": False},
        {"limit_in": 10**6},
        {"firewalls": ("web",)},
        {"rules": (Rule("in", peer="firewall:ssh"),)},
    )
    return random.choice(changes)


def _node(random: Random) -> str:
    return random.choice(("n1", "n2", "n3"))


REQUESTS: tuple[tuple[int, Draw], ...] = (
    (30, _instance),
    (6, lambda random: StartInstance(instance=_web(random), wait_ready=random.random() < 0.3)),
    (7, lambda random: StopInstance(instance=_web(random), graceful_s=random.choice((None, 0.0, 2.0)))),
    (5, lambda random: RebootInstance(instance=_web(random), wait_ready=random.random() < 0.3)),
    (3, lambda random: ResetInstance(instance=_web(random))),
    (9, lambda random: RemoveInstance(instance=_web(random), purge=random.random() < 0.3)),
    (6, lambda random: RestoreInstance(instance=_web(random), start=random.random() < 0.5)),
    (3, lambda random: ModifyInstance(instance=_web(random), notes=str(random.random()))),
    (8, lambda random: AddDisk(instance=_web(random), size=random.choice((1, 5)) * GIB, format=random.choice(("", "raw")))),
    (6, lambda random: GrowDisk(instance=_web(random), disk=random.randrange(2), size=random.choice((5, 9, 12)) * GIB)),
    (3, _import),
    (4, lambda random: FlattenDisk(instance=_web(random), disk=random.randrange(2))),
    (5, lambda random: RemoveDisk(instance=_web(random), disk=random.randrange(3), purge=random.random() < 0.3)),
    (4, lambda random: RestoreDisk(instance=_web(random), disk=random.randrange(3))),
    (5, lambda random: AddNic(instance=_web(random), network=random.choice(("", "blue")), up=random.random() < 0.8)),
    (4, lambda random: ModifyNic(instance=_web(random), nic=random.randrange(2), **_nic_change(random))),
    (4, lambda random: RemoveNic(instance=_web(random), nic=random.randrange(3))),
    (2, lambda random: AddFirewall(name=random.choice(("web", "ssh")), rules=_rules(random))),
    (3, lambda random: ModifyFirewall(firewall=random.choice(("web", "ssh")), rules=_rules(random))),
    (2, lambda random: RemoveFirewall(firewall=random.choice(("web", "ssh")))),
    (2, lambda random: ModifyInstance(instance=_web(random), firewalls=random.choice(((), ("web",), ("ssh", "web"))))),
    (5, _clone),
    (6, lambda random: AddSnapshot(instance=_web(random), name=_saved(random))),
    (4, lambda random: RevertSnapshot(instance=_web(random), snapshot=_saved(random), stop=random.random() < 0.7)),
    (5, lambda random: RemoveSnapshot(instance=_web(random), snapshot=_saved(random))),
    (3, lambda random: AddImage(name="extra", source=f"/images/{random.randrange(2)}.qcow2")),
    (1, lambda random: BuildImage(name="extra")),
    (2, lambda random: RemoveImage(image="extra")),
    (3, lambda random: AddNetwork(name=random.choice(("blue", "red")), subnet=f"10.9.{random.randrange(2)}.0/24")),
    (2, lambda random: ModifyNetwork(network=random.choice(("lan", "blue")), dns=(f"10.9.9.{random.randrange(9)}",))),
    (2, lambda random: AddForward(port=f"tcp/{random.randrange(80, 83)}", instance=_web(random), network="lan")),
    (1, lambda random: RemoveForward(forward=f"tcp-{random.randrange(80, 83)}")),
    (2, lambda random: RemoveNetwork(network=random.choice(("blue", "red")))),
    (3, lambda random: AddPool(name=random.choice(("fast", "slow")), path=random.choice(("/srv/a", "/srv/a/b", "/srv/c")))),
    (2, lambda random: RemovePool(pool=random.choice(("fast", "slow")))),
    (8, lambda random: MoveInstance(instance=_web(random), to=random.choice(("", "", "n1", "n2", "n3")))),
    (8, lambda random: MigrateInstance(instance=_web(random), to=random.choice(("", "", "n1", "n2", "n3")))),
    (1, lambda random: DrainNode(node=_node(random))),
    (2, lambda random: EvacuateNode(node=_node(random))),
    (4, lambda random: UndrainNode(node=_node(random))),
    (2, lambda random: PingNode(node="n1")),
    (2, lambda random: ModifyNode(node=_node(random), storage_address=random.choice(("", "10.1.0.1", "10.1.0.2")))),
    (1, lambda random: ModifyNode(node=_node(random), address=f"10.0.9.{random.randrange(1, 4)}")),
    (
        2,
        lambda random: ModifyNetwork(
            network="blue", links=(LinkWish(node=_node(random), interface=random.choice(("none", "usual"))),)
        ),
    ),
    (1, lambda random: AddToken(name="bot", digest="0" * 64)),
    (1, lambda random: RemoveToken(token="bot")),  # noqa: S106  (a name)
    (1, lambda random: ModifyCluster(notes=str(random.random()))),
    (3, lambda random: RepairInstance(instance=_web(random))),
    (1, lambda random: RepairNetwork(network="lan")),
    (1, lambda random: RepairFilters(node="n1")),
)


def first_instance(number: int) -> Request:
    """One of the instances that each world begins with."""
    disks = ((DiskWish(),), (DiskWish(size=4 * GIB), DiskWish(size=GIB)))[number % 2]
    return AddInstance(name=f"web{number}", image="debian-12", disks=disks, wait_ready=number < 2)


def draw_request(random: Random) -> Request:
    (draw,) = random.choices([draw for _, draw in REQUESTS], [weight for weight, _ in REQUESTS])
    return draw(random)
