"""What people ask of a world, drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from covey.model.request import Request
from covey.model.requests.cluster import ModifyCluster
from covey.model.requests.disk import AddDisk, GrowDisk, RemoveDisk
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.requests.instance import (
    AddInstance,
    DiskWish,
    ModifyInstance,
    RebootInstance,
    RemoveInstance,
    ResetInstance,
    StartInstance,
    StopInstance,
)
from covey.model.requests.network import AddNetwork, RemoveNetwork
from covey.model.requests.node import PingNode
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.requests.repair import RepairInstance, RepairNetwork
from covey.model.requests.token import AddToken, RemoveToken

GIB = 2**30
Draw = Callable[[Random], Request]


def _web(random: Random) -> str:
    return f"web{random.randrange(6)}"


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


REQUESTS: tuple[tuple[int, Draw], ...] = (
    (30, _instance),
    (6, lambda random: StartInstance(instance=_web(random), wait_ready=random.random() < 0.3)),
    (7, lambda random: StopInstance(instance=_web(random), graceful_s=random.choice((None, 0.0, 2.0)))),
    (5, lambda random: RebootInstance(instance=_web(random), wait_ready=random.random() < 0.3)),
    (3, lambda random: ResetInstance(instance=_web(random))),
    (9, lambda random: RemoveInstance(instance=_web(random))),
    (3, lambda random: ModifyInstance(instance=_web(random), notes=str(random.random()))),
    (8, lambda random: AddDisk(instance=_web(random), size=random.choice((1, 5)) * GIB, format=random.choice(("", "raw")))),
    (6, lambda random: GrowDisk(instance=_web(random), disk=random.randrange(2), size=random.choice((5, 9, 12)) * GIB)),
    (5, lambda random: RemoveDisk(instance=_web(random), disk=random.randrange(3))),
    (3, lambda random: AddImage(name="extra", source=f"/images/{random.randrange(2)}.qcow2")),
    (1, lambda random: BuildImage(name="extra")),
    (2, lambda random: RemoveImage(image="extra")),
    (3, lambda random: AddNetwork(name=random.choice(("blue", "red")), subnet=f"10.9.{random.randrange(2)}.0/24")),
    (2, lambda random: RemoveNetwork(network=random.choice(("blue", "red")))),
    (3, lambda random: AddPool(name=random.choice(("fast", "slow")), path=random.choice(("/srv/a", "/srv/a/b", "/srv/c")))),
    (2, lambda random: RemovePool(pool=random.choice(("fast", "slow")))),
    (2, lambda random: PingNode(node="n1")),
    (1, lambda random: AddToken(name="bot", digest="0" * 64)),
    (1, lambda random: RemoveToken(token="bot")),  # noqa: S106  (a name)
    (1, lambda random: ModifyCluster(notes=str(random.random()))),
    (3, lambda random: RepairInstance(instance=_web(random))),
    (1, lambda random: RepairNetwork(network="lan")),
)


def first_instance(number: int) -> Request:
    """One of the instances that each world begins with."""
    disks = ((DiskWish(),), (DiskWish(size=4 * GIB), DiskWish(size=GIB)))[number % 2]
    return AddInstance(name=f"web{number}", image="debian-12", disks=disks, wait_ready=number < 2)


def draw_request(random: Random) -> Request:
    (draw,) = random.choices([draw for _, draw in REQUESTS], [weight for weight, _ in REQUESTS])
    return draw(random)
