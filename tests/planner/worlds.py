"""Views for properties: small clusters in which nearly every kind of trouble is near."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from covey.base.errors import CoveyError
from covey.model.domain import DomainDisk
from covey.model.instance import Disk, Instance
from covey.model.plan import Plan
from covey.model.pool import Pool, Space
from covey.model.record import Record
from covey.model.request import Request
from covey.model.steps.disk import EnsureDiskAttached, EnsureVolume
from covey.model.steps.pool import EnsurePool
from covey.model.token import Token
from covey.model.view import ClusterView
from covey.planner import plan
from tests.kit.builders import (
    GIB,
    NOW,
    a_cluster,
    a_debris,
    a_disk,
    a_firewall,
    a_forward,
    a_network,
    a_nic,
    a_node,
    a_pool,
    a_public_network,
    a_removed,
    a_snapshot_of,
    a_volume,
    an_image,
    an_instance,
    an_ipv6_network,
    an_observed,
)

POOLS = (a_pool(), a_pool("fast", format="raw"), a_pool("none", "diskless"))
NETWORKS = (a_network(), a_network("tiny", "10.88.0", (2, 3)), an_ipv6_network(last=3), a_public_network())
IMAGES = (an_image(), an_image("unfinished", "adding"))
SPACES = st.sampled_from([Space(1000 * GIB, 900 * GIB), Space(100 * GIB, 12 * GIB), Space(100 * GIB, 5 * GIB), Space(0, 0)])
STATES = st.sampled_from(["ready", "ready", "ready", "adding", "removing"])


@st.composite
def _instances(draw: st.DrawFn) -> tuple[list[Instance], list[Record]]:
    instances: list[Instance] = []
    extra: list[Record] = []
    for number, name in enumerate(draw(st.lists(st.sampled_from(["web1", "web2"]), unique=True, max_size=2))):
        disks: list[Disk] = []
        for index in draw(st.sampled_from([(), (0,), (0, 1), (1,)])):
            pool = draw(st.sampled_from(POOLS[:2]))
            disks.append(a_disk(f"{name}/{index}", index, pool, draw(st.sampled_from([GIB, 10 * GIB])), pool.format))
        nics = tuple(
            a_nic(i, 10 + 10 * number + i, draw(st.sampled_from([NETWORKS[0], NETWORKS[0], NETWORKS[3]])))
            for i in range(draw(st.integers(0, 2)))
        )
        instance = an_instance(
            name,
            state=draw(STATES),
            desired=draw(st.sampled_from(["running", "stopped"])),
            disks=tuple(disks),
            nics=nics,
            seeded=draw(st.booleans()),
            generation=draw(st.integers(0, 5)),
        )
        if draw(st.integers(0, 4)) == 0:
            extra.append(a_removed(instance))
            continue
        if bool(disks) and draw(st.booleans()):
            instance, layered = a_snapshot_of(instance)
            extra += layered
        instances.append(instance)
        if draw(st.integers(0, 4)) == 0:
            extra.append(a_removed(instance, a_disk(f"{name}/lost", 1)))
        if draw(st.booleans()):
            extra.append(an_observed(instance, draw(st.sampled_from(["running", "stopped", "crashed", "missing", "paused"]))))
    return instances, extra


@st.composite
def views(draw: st.DrawFn) -> ClusterView:
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from([ClusterView(), _blank()]))
    instances, extra = draw(_instances())
    extra += draw(st.sampled_from([[], [a_firewall(), a_firewall("db", ())]]))
    if instances and instances[0].nics and draw(st.booleans()):
        extra.append(a_forward(instances[0]))
    extra += draw(st.sampled_from([[], [Token("bot", "viewer", "0" * 64, NOW)]]))
    extra += draw(st.sampled_from([[], [_debris(1)], [_debris(2)], [_debris(3)]]))
    return a_cluster(
        nodes=draw(st.sampled_from([1, 1, 3])),
        pools=draw(st.sampled_from([POOLS, POOLS[:1], POOLS[1:], ()])),
        networks=draw(st.sampled_from([NETWORKS, NETWORKS, NETWORKS[:1], NETWORKS[1:], ()])),
        images=draw(st.sampled_from([IMAGES, ()])),
        instances=instances,
        extra=extra,
        memory=draw(st.sampled_from([64 * GIB, 2 * GIB, 0])),
        space=draw(SPACES),
        kinds=draw(st.sampled_from([None, None, None, ("answer@1",)])),
        answering=draw(st.sampled_from([True, True, True, False])),
    )


def _blank() -> ClusterView:
    from tests.kit.builders import a_telemetry

    return ClusterView().with_telemetry(a_node().id, a_telemetry())


def _debris(number: int) -> Record:
    volume = a_volume("left")
    node = a_node().id
    steps: dict[int, Any] = {
        1: EnsureVolume(node=node, volume=volume, image=""),
        2: EnsureDiskAttached(node=node, instance=an_instance("web1").id, disk=DomainDisk(2, volume)),
        3: EnsurePool(node=node, pool=a_pool("new").id, place=a_pool("new").place),
    }
    return a_debris(90 + number, steps[number])


VIEWS = views()


def planned(view: ClusterView, request: Request) -> Plan | CoveyError:
    """The plan, or the refusal; anything else is a bug and comes through."""
    try:
        return plan(view, request)
    except CoveyError as error:
        return error


def pools_of(view: ClusterView) -> dict[str, Pool]:
    return {pool.id: pool for pool in view.all("pool", Pool)}
