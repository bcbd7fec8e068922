"""What `cluster verify --fix` does, one finding a plan."""

from __future__ import annotations

from covey.base.errors import Refused, check
from covey.model.plan import Plan, Uses, put
from covey.model.requests.repair import (
    RemoveOrphanDomain,
    RemoveOrphanImage,
    RemoveOrphanVolume,
    RepairInstance,
    RepairNetwork,
)
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.image import EnsureImageAbsent
from covey.model.steps.instance import EnsureInstanceAbsent, EnsureStopped
from covey.model.steps.network import EnsureNetwork
from covey.model.view import ClusterView
from covey.planner.instance.parts import as_it_runs, check_settled, presence, running, stopping, uses_of
from covey.planner.registry import plans


@plans(RemoveOrphanVolume)
def remove_volume(view: ClusterView, request: RemoveOrphanVolume) -> Plan:
    """Raises Refused when a record names the volume after all, or a running job may be making it."""
    node = view.node(request.node)
    owners = [i for i in view.instances if any(disk.volume.id == request.volume.id for disk in i.disks)]
    check(not owners, Refused(f"it belongs to {owners[0] if owners else ''}", f"volume {request.volume.id}"))
    _check_nobody_makes(view, request.volume.id)
    return Plan(
        f"remove the orphan volume {request.volume.id} on {node.name}",
        (EnsureVolumeAbsent(node=node.id, volume=request.volume),),
        Uses((f"volume/{request.volume.id}",), (f"node/{node.id}",)),
        warnings=("what is on it is lost",),
    )


@plans(RemoveOrphanDomain)
def remove_domain(view: ClusterView, request: RemoveOrphanDomain) -> Plan:
    node = view.node(request.node)
    check(not view.find("instance", request.domain), Refused("it has a record", f"instance {request.domain}"))
    return Plan(
        f"stop and remove the orphan domain {request.domain} on {node.name}; its volumes stay",
        (
            EnsureStopped(node=node.id, instance=request.domain),
            EnsureInstanceAbsent(node=node.id, instance=request.domain),
        ),
        Uses((f"instance/{request.domain}",), (f"node/{node.id}",)),
    )


@plans(RemoveOrphanImage)
def remove_image(view: ClusterView, request: RemoveOrphanImage) -> Plan:
    node = view.node(request.node)
    check(not view.find("image", request.image), Refused("it has a record", f"image {request.image}"))
    return Plan(
        f"remove the files of the orphan image {request.image} on {node.name}",
        (EnsureImageAbsent(node=node.id, image=request.image),),
        Uses((f"image/{request.image}",), (f"node/{node.id}",)),
    )


@plans(RepairInstance)
def repair_instance(view: ClusterView, request: RepairInstance) -> Plan:
    """Seed, definition and running state as recorded. A stopped one that should run is started; one that should not is stopped."""
    instance = view.instance(request.instance)
    check_settled(instance)
    state = view.observed(instance.id).state
    steps: tuple[Step, ...] = presence(view, instance)
    if instance.desired == "running" and state != "running":
        after, run = running(view, instance, instance.desired_by)
        steps = (*steps, run)
        success = as_it_runs(after, steps)
        return Plan(f"repair {instance} and start it", steps, uses_of(after), begin=(put(after),), success=success)
    if instance.desired == "stopped" and state in ("running", "paused"):
        graceful_s = view.cluster.defaults.stop_graceful_s
        steps += stopping(instance, graceful_s)
    return Plan(f"repair {instance}", steps, uses_of(instance))


@plans(RepairNetwork)
def repair_network(view: ClusterView, request: RepairNetwork) -> Plan:
    network = view.network(request.network)
    nodes = sorted(view.collections["node"])
    return Plan(
        f"repair {network}",
        tuple(EnsureNetwork(node=node, network=network) for node in nodes),
        Uses((f"network/{network.id}",)),
    )


def _check_nobody_makes(view: ClusterView, volume: str) -> None:
    for job in view.jobs:
        record = view.plan(job.id)
        makes = record and any(step.object == f"volume/{volume}" for step in record.plan.steps)
        check(not makes, Refused(f"{job} is at work on it", f"volume {volume}", f"wait: covey job watch {job.id}"))
