"""Verbs of the cluster."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, Unavailable, check
from covey.model.cluster import Cluster
from covey.model.node import Node
from covey.model.plan import Plan, Uses, nothing, put
from covey.model.pool import Place, Pool
from covey.model.requests.cluster import InitCluster, ModifyCluster
from covey.model.step import ResultOf
from covey.model.steps.node import EnsureAccelerator
from covey.model.steps.pool import EnsurePool
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.registry import plans


@plans(InitCluster)
def init(view: ClusterView, request: InitCluster) -> Plan:
    """A cluster of the one machine whose agent answers here. Raises Refused when there is one already."""
    if view.is_initialised:
        raise Refused(f"there is a cluster here already: {view.cluster.name}", "cluster", "see: covey cluster info")
    check(view.telemetry, Unavailable("no agent answers here", "cluster", "is it running? see the output of covey up"))
    (node_id, telemetry), *_ = view.telemetry.items()
    node = Node(node_id, request.node_name or telemetry.hostname, request.now)
    pool = Pool(
        draw_uuid(request, "pool"),
        "default",
        Place("file", request.pool_path or telemetry.pool_path),
        "qcow2",
        request.now,
    )
    cluster = Cluster(
        request.name,
        draw_uuid(request, "cluster"),
        request.accelerator,
        "",
        request.mac_prefix,
        request.now,
        request.defaults,
    )
    return Plan(
        f"make cluster {request.name} of {node.name}",
        (
            EnsureAccelerator(node=node.id, wanted=request.accelerator, timeout_s=request.prove_timeout_s),
            EnsurePool(node=node.id, pool=pool.id, place=pool.place),
        ),
        Uses(exclusive=("cluster/cluster",)),
        reasons=(
            f"{node.name} is the machine whose agent answers",
            f"pool default: files in {pool.place.path}",
            *(
                ("KVM counts only once a guest has run under it; else guests are emulated",)
                if request.accelerator == "auto"
                else ()
            ),
        ),
        success=(
            put(cluster, accelerator=ResultOf(0, "accelerator"), accelerator_why=ResultOf(0, "why")),
            put(node),
            put(pool),
        ),
    )


@plans(ModifyCluster)
def modify(view: ClusterView, request: ModifyCluster) -> Plan:
    before = view.cluster
    after = replace(
        before,
        name=before.name if request.name is None else request.name,
        notes=before.notes if request.notes is None else request.notes,
        defaults=request.defaults or before.defaults,
    )
    if after == before:
        return nothing("the cluster is so already")
    return Plan("change the cluster's settings", uses=Uses(exclusive=("cluster/cluster",)), success=(put(after),))
