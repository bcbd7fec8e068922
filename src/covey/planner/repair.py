"""What `cluster verify --fix` does, one finding a plan."""

from __future__ import annotations

from covey.base.errors import Refused, check
from covey.model.firewall import Firewall
from covey.model.network import NO_POOL, Network
from covey.model.plan import Plan, Uses, put
from covey.model.requests.disk import ImportDisk
from covey.model.requests.repair import (
    RemoveOrphanDomain,
    RemoveOrphanImage,
    RemoveOrphanNetwork,
    RemoveOrphanUpload,
    RemoveOrphanVolume,
    RepairFilters,
    RepairInstance,
    RepairNetwork,
)
from covey.model.step import Step
from covey.model.steps.disk import EnsureUploadAbsent, EnsureVolumeAbsent
from covey.model.steps.firewall import EnsureFirewall
from covey.model.steps.image import EnsureImageAbsent
from covey.model.steps.instance import EnsureInstanceAbsent, EnsureStopped
from covey.model.steps.network import EnsureNetworkAbsent
from covey.model.steps.nic import EnsureFiltersIntact
from covey.model.view import ClusterView
from covey.planner.instance.parts import as_it_runs, check_settled, presence, running, stopping, uses_of
from covey.planner.network.laying import laying
from covey.planner.registry import plans


@plans(RemoveOrphanVolume)
def remove_volume(view: ClusterView, request: RemoveOrphanVolume) -> Plan:
    """Raises Refused when a record names the volume after all, or a running job may be making it."""
    node = view.node(request.node)
    owners = [owner for owner, disk in view.disks if disk.volume.id == request.volume.id]
    check(not owners, Refused(f"it belongs to {owners[0] if owners else ''}", f"volume {request.volume.id}"))
    check(not view.find("layer", request.volume.id), Refused("snapshots or clones need it", f"volume {request.volume.id}"))
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


@plans(RemoveOrphanUpload)
def remove_upload(view: ClusterView, request: RemoveOrphanUpload) -> Plan:
    """Raises Refused when a job makes a disk of it after all."""
    node = view.node(request.node)
    job = next((job for job in view.jobs if isinstance(job.request, ImportDisk) and job.request.upload == request.upload), None)
    check(job is None, Refused(f"{job} makes a disk of it", f"upload {request.upload}"))
    return Plan(
        f"remove the orphan upload {request.upload} on {node.name}, of which nobody made a disk",
        (EnsureUploadAbsent(node=node.id, place=request.place, upload=request.upload),),
        Uses((f"upload/{request.upload}",), (f"node/{node.id}",)),
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


@plans(RepairFilters)
def repair_filters(view: ClusterView, request: RepairFilters) -> Plan:
    node = view.node(request.node)
    firewalls = sorted(view.all("firewall", Firewall), key=lambda one: one.name)
    return Plan(
        f"repair the packet rules of NICs on {node.name}",
        (
            *(EnsureFirewall(node=node.id, firewall=one.id, rules=one.rules, before=one.rules) for one in firewalls),
            EnsureFiltersIntact(node=node.id),
        ),
        Uses(shared=(f"node/{node.id}", *(f"firewall/{one.id}" for one in firewalls))),
        repair=f"covey cluster verify --fix, and on {node.name}: nft list ruleset",
    )


@plans(RepairNetwork)
def repair_network(view: ClusterView, request: RepairNetwork) -> Plan:
    """Bridge, rules, forwarded ports and routes to guests."""
    network = view.network(request.network)
    return Plan(f"repair {network}", laying(view, network), Uses((f"network/{network.id}",)))


@plans(RemoveOrphanNetwork)
def remove_network(view: ClusterView, request: RemoveOrphanNetwork) -> Plan:
    """Raises Refused when it has a record after all."""
    node = view.node(request.node)
    record: Network | None = view.find("network", request.network)
    check(
        record is None or record.on(node.id) is None,
        Refused(f"it has a record, and is to be on {node.name}", f"network {request.network}"),
    )
    bridge = request.bridge or f"cv-{request.network[:8]}"  # rules whose bridge is gone
    left = Network(request.network, bridge, bridge, "", "", NO_POOL, False, (), 0.0, isolated=True)
    return Plan(
        f"remove the orphan bridge {bridge} on {node.name}, with its rules",
        (EnsureNetworkAbsent(node=node.id, network=left),),
        Uses((f"network/{request.network}", f"bridge/{bridge}"), (f"node/{node.id}",)),
    )


def _check_nobody_makes(view: ClusterView, volume: str) -> None:
    for job in view.jobs:
        record = view.plan(job.id)
        makes = record and any(step.object == f"volume/{volume}" for step in record.plan.steps)
        check(not makes, Refused(f"{job} is at work on it", f"volume {volume}", f"wait: covey job watch {job.id}"))
