"""Verbs of the cluster."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, Unavailable, check
from covey.model.cluster import Cluster
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.plan import Plan, Uses, change, nothing, put
from covey.model.pool import Place, Pool
from covey.model.requests.cluster import InitCluster, ModifyCluster, ReconcileCluster
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


@plans(ReconcileCluster)
def reconcile(view: ClusterView, request: ReconcileCluster) -> Plan:
    """What answers was raised as it was heard. Raises Refused while a node is silent that nobody declared dead, for one that is declared
    dead and answers, and while two nodes run one instance."""
    restoration = view.restoration
    if restoration is None or not restoration.is_open:
        return nothing("the records say what runs: nothing is to be reconciled")
    silent = _check_silence(view, request)
    moved, reasons = _moved(view, request)
    running = {instance.id for instance in moved}
    awaited = sorted(
        instance.name
        for instance in view.instances
        if instance.desired == "running" and instance.id not in running and _is_down(view, instance, silent)
    )
    waiting = sorted(instance.name for instance in view.instances if instance.node in {node.id for node in silent})
    after = replace(
        restoration, done_at=request.now, without=tuple(sorted(node.name for node in silent)), because=request.because
    )
    return Plan(
        "end the reconciliation: the records say what runs",
        uses=Uses(exclusive=("cluster/cluster", *(f"instance/{instance.id}" for instance in moved))),
        reasons=(
            *reasons,
            *((f"started after that, as they should run and do not: {', '.join(awaited)}",) if awaited else ()),
            *((f"down until their nodes are back: {', '.join(waiting)}",) if waiting else ()),
        ),
        warnings=tuple(f"{node.name} is declared dead: {request.because}" for node in silent),
        success=(
            put(after),
            *(put(instance) for instance in moved),
            *(change(replace(node, state="behind"), "state") for node in silent),
        ),
    )


def _check_silence(view: ClusterView, request: ReconcileCluster) -> list[Node]:
    """The nodes that are silent, each of which was declared dead. Raises Refused, NotFound."""
    named = {view.node(name).id for name in request.without}
    silent = sorted((n for n in view.all("node", Node) if n.id not in request.answered), key=lambda node: node.name)
    alive = sorted(node.name for node in view.all("node", Node) if node.id in named and node.id in request.answered)
    check(not alive, Refused(f"{', '.join(alive)} answers, and is not dead", "cluster reconcile", "leave it out of --without"))
    unnamed = [node.name for node in silent if node.id not in named]
    advice = " ".join(f"--without {name}" for name in unnamed)
    check(
        not unnamed,
        Refused(
            f"{', '.join(unnamed)} does not answer: nobody knows what runs there",
            "cluster reconcile",
            f"start its agent, or if it is surely dead: {advice} --because ...",
        ),
    )
    return silent


def _moved(view: ClusterView, request: ReconcileCluster) -> tuple[list[Instance], list[str]]:
    """Instances that run on another node than recorded, as they are to be recorded; and what is to be said of what was found."""
    moved: list[Instance] = []
    said: list[str] = []
    for run in sorted(request.found, key=lambda run: (run.title, run.node)):
        instance: Instance | None = view.find("instance", run.instance)
        where = view.find("node", run.node)
        there = where.name if where else run.node
        if instance is None:
            said.append(f"{run.title or run.instance} on {there} is {run.state} and in no record: it is left alone")
            continue
        if run.node == instance.node or run.state not in ("running", "paused"):
            continue
        others = [
            one for one in request.found if one.instance == run.instance and one.node != run.node and one.state == "running"
        ]
        check(
            not others,
            Refused("two nodes run it", instance, f"on the wrong one of them: covey local stop {instance.name}"),
        )
        generation = max(run.generation, instance.generation)
        moved.append(replace(instance, node=run.node, desired="running", generation=generation))
        said.append(f"{instance.name} runs on {there}, and is recorded there")
    return moved, said


def _is_down(view: ClusterView, instance: Instance, silent: list[Node]) -> bool:
    return instance.node not in {node.id for node in silent} and view.observed(instance.id).state not in ("running", "paused")
