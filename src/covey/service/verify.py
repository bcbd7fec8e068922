"""cluster verify: what the nodes have, compared with what the records say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from covey.base.units import humane_size
from covey.host.hypervisor.definition import digest
from covey.model.domain import Drift, FoundDomain
from covey.model.filter import FoundFilters, digest_of_filters, digest_of_rules
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Disk, Instance
from covey.model.network import FoundNetwork, Network
from covey.model.node import Node
from covey.model.order import Inventory
from covey.model.pool import FoundVolume, Pool, Volume
from covey.model.request import Request
from covey.model.requests.disk import GrowDisk, ImportDisk
from covey.model.requests.instance import RemoveInstance
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
from covey.model.shape import pending, shape_of
from covey.model.view import ClusterView
from covey.planner.filters import filters_of
from covey.planner.instance.modify import named_pending
from covey.planner.instance.parts import domain_of
from covey.service.layers import FOREIGN, NO_FIX, layer_troubles

ERROR = "error"
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `name` says what kind of thing, `fix` is what a person does about it, `request` what
    `cluster verify --fix` does (None: nothing can be done by itself)."""

    id: str
    severity: str  # error | warning
    object: str
    name: str
    what: str
    why: str
    fix: str
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[Finding, ...]
    checks: int
    nodes: int
    instances: int


@dataclass(slots=True)
class _Work:
    """One comparison under way. `before` and `after` are the views around the moment at which the nodes were asked: what changed in
    between, and what running jobs are at, is nobody's fault."""

    before: ClusterView
    after: ClusterView
    busy: frozenset[str]
    last_job: int
    findings: list[Finding] = field(default_factory=list)
    checks: int = 0

    def is_settled(self, collection: str, id: str) -> bool:
        """Whether nobody is at the object, and nobody was meanwhile. Volumes have no record of their own."""
        if f"{collection}/{id}" in self.busy:
            return False
        is_record = collection in self.after.collections
        return not is_record or self.before.revision_of(collection, id) == self.after.revision_of(collection, id)

    def find(
        self, key: str, severity: str, object: object, name: str, what: str, why: str, fix: str, request: Request | None = None
    ) -> None:
        self.findings.append(Finding(f"{name}:{key}", severity, str(object), name, what, why, fix, request))

    def orphan(self, key: str, object: str, name: str, what: str, why: str, job: str, request: Request) -> None:
        """What no record names can be removed, unless a job made it that is still to come: then the records are what is wrong."""
        if job.isdigit() and int(job) > self.last_job:
            why = f"made by job {job}, and the latest here is {self.last_job}: is the store an older copy of the true one?"
            self.find(key, ERROR, object, name, what, why, "bring back the true store; --fix leaves this alone")
        else:
            self.find(key, WARNING, object, name, what, f"made by job {job}" if job else why, AND_FIX, request)

    def check(self) -> None:
        self.checks += 1


AND_FIX = "covey cluster verify --fix"
JUST_SENT_S = 60.0
NO_TAG = "it carries no job's tag"


def verify(before: ClusterView, after: ClusterView, inventories: Mapping[str, Inventory | None], last_job: int) -> Verdict:
    """`inventories` by node id, None where the agent gave no answer; `last_job` is the number of the latest job."""
    work = _Work(before, after, _busy(before) | _busy(after), last_job)
    for node in sorted(after.all("node", Node), key=lambda node: node.name):
        if node.id in inventories:
            _check_node(work, node, inventories[node.id])
    _check_states(work)
    _check_debris(work)
    order = {ERROR: 0, WARNING: 1}
    findings = tuple(sorted(work.findings, key=lambda finding: (order[finding.severity], finding.object, finding.id)))
    return Verdict(findings, work.checks, len(after.collections["node"]), len(after.collections["instance"]))


def _busy(view: ClusterView) -> frozenset[str]:
    """The objects of running jobs: those that plans name, and those that their steps make."""
    names: set[str] = set()
    for job in view.jobs:
        record = view.plan(job.id)
        if record and job.state != "waiting":
            names.update(record.plan.uses.exclusive)
            names.update(step.object for step in record.plan.steps)
    names.update(debris.step.object for debris in view.debris)
    return frozenset(names)


def way_to_a_silent_node(view: ClusterView, node: Node) -> str:
    """What a person does about it. An agent whose file of its identity was lost or replaced answers under another one."""
    strangers = [id for id in view.telemetry if view.find("node", id) is None]
    if strangers:
        return f"an agent answers there that is no node: {strangers[0]}. Was agent/node-id lost? Write {node.id} into it, then restart Covey"
    return f"see whether Covey runs on {node.name}, and its log"


def _check_node(work: _Work, node: Node, inventory: Inventory | None) -> None:
    work.check()
    if inventory is None:
        work.find(
            node.id,
            ERROR,
            node,
            "agent-silent",
            "its agent does not answer",
            "nothing there can be looked at or changed; guests run on",
            way_to_a_silent_node(work.after, node),
        )
        return
    for number, text in enumerate(inventory.problems):
        work.find(
            f"{node.id}:{number}",
            WARNING,
            node,
            "node-problem",
            text,
            "a part of the machine could not be looked at",
            "see the machine's log",
        )
    _check_pools(work, node)
    _check_volumes(work, node, inventory)
    _check_uploads(work, node, inventory)
    _check_domains(work, node, inventory)
    _check_images(work, node, inventory)
    _check_networks(work, node, inventory)
    if inventory.filters is not None:
        _check_filters(work, node, inventory.filters)


def _check_pools(work: _Work, node: Node) -> None:
    told = work.after.telemetry.get(node.id)
    for pool in work.after.all("pool", Pool):
        if pool.capability.holds_volumes and work.is_settled("pool", pool.id):
            work.check()
            if told and pool.id not in told.pools:
                work.find(
                    f"{node.id}:{pool.id}",
                    ERROR,
                    pool,
                    "pool-unreachable",
                    f"{node.name} tells of no room in {pool.place.path}",
                    "its directory is gone, not mounted, or belongs to something else",
                    f"mount or restore {pool.place.path} on {node.name}",
                )


def _check_volumes(work: _Work, node: Node, inventory: Inventory) -> None:
    found = {volume.id: volume for volume in inventory.volumes}
    owned = {disk.volume.id for view in (work.before, work.after) for _, disk in view.disks}
    owned |= {layer.id for view in (work.before, work.after) for layer in view.layers}
    owned |= {volume.base for volume in inventory.volumes}  # whatever lies on it could not be read without it
    for instance in work.after.instances:
        if instance.node == node.id and instance.state == "ready" and work.is_settled("instance", instance.id):
            for disk in instance.disks:
                work.check()
                _check_volume(work, node, instance, disk, found.get(disk.volume.id))
    _check_kept(work, node, found)
    for layer in work.after.layers:
        if layer.node == node.id and work.is_settled("layer", layer.id):
            work.check()
            for trouble in layer_troubles(work.after, node, layer, found.get(layer.id)):
                work.find(layer.id, ERROR, trouble.object, trouble.name, trouble.what, trouble.why, trouble.fix)
    for volume in inventory.volumes:
        work.check()
        if volume.id not in owned and work.is_settled("volume", volume.id):
            work.orphan(
                f"{node.name}:{volume.id}",
                f"volume {node.name}:{volume.place.path}/{volume.id}",
                "orphan-volume",
                f"{humane_size(volume.used)} that no record names",
                NO_TAG,
                volume.job,
                RemoveOrphanVolume(node=node.name, volume=Volume(volume.id, volume.place, volume.format, volume.size)),
            )


def _check_uploads(work: _Work, node: Node, inventory: Inventory) -> None:
    """Between the end of an upload and its job there is a moment."""
    jobs = [job for view in (work.before, work.after) for job in view.jobs]
    wanted = {job.request.upload for job in jobs if isinstance(job.request, ImportDisk)}
    for upload in inventory.uploads:
        work.check()
        if upload.id not in wanted and upload.age_s > JUST_SENT_S and work.is_settled("upload", upload.id):
            work.find(
                f"{node.name}:{upload.id}",
                WARNING,
                f"upload {node.name}:{upload.place.path}/{upload.id}",
                "orphan-upload",
                f"{humane_size(upload.used)} of an image that was sent, and that no job makes a disk of",
                "whoever sent it, or Covey, ended before its job began",
                f"nothing: it goes by itself a day after it came; or at once: {AND_FIX}",
                RemoveOrphanUpload(node=node.name, place=upload.place, upload=upload.id),
            )


def _check_kept(work: _Work, node: Node, found: Mapping[str, FoundVolume]) -> None:
    """What was removed can be had back only while its volumes are there."""
    for removed in work.after.removed:
        if removed.instance.node == node.id and work.is_settled("removed", removed.id):
            work.check()
            lost = [disk.volume.id for disk in removed.instance.disks if disk.volume.id not in found]
            if lost:
                what = f"its volume {lost[0]} is not on {node.name}: it cannot be restored"
                why = "the file was removed behind Covey's back, or its file system is not mounted"
                fix = f"bring the file back, or: {removed.purge}"
                work.find(removed.id, WARNING, removed, "missing-kept-volume", what, why, fix)


def _check_volume(work: _Work, node: Node, instance: Instance, disk: Disk, found: FoundVolume | None) -> None:
    key, object = f"{instance.id}:{disk.index}", f"disk {instance.name}/{disk.index}"
    if found is None or not (found.size or found.used):  # its tag alone is left
        work.find(
            key,
            ERROR,
            object,
            "missing-volume",
            f"its volume {disk.volume.id} is not on {node.name}",
            "the file was removed behind Covey's back, or its file system is not mounted",
            f"bring back {disk.volume.place.path}, or give it up: covey disk remove {instance.name} {disk.index} --purge",
        )
    elif found.base != disk.base:
        work.find(
            key,
            ERROR,
            object,
            "broken-chain",
            f"its volume lies on {found.base or 'nothing'}, not on {disk.base}",
            FOREIGN,
            NO_FIX,
        )
    elif found.size > disk.size:
        work.find(
            key,
            WARNING,
            object,
            "wrong-size",
            f"its volume has {humane_size(found.size)}, the record says {humane_size(disk.size)}",
            "it was grown behind Covey's back, or growing it was cut short",
            AND_FIX,
            GrowDisk(instance=instance.name, disk=disk.index, size=found.size),
        )
    elif found.size < disk.size:
        work.find(
            key,
            ERROR,
            object,
            "wrong-size",
            f"its volume has {humane_size(found.size)}, the record says {humane_size(disk.size)}",
            "it was cut behind Covey's back: the end of what the guest wrote may be lost",
            f"make it whole again: covey disk grow {instance.name} {disk.index} +1M, then check the guest's file system",
        )


def _check_domains(work: _Work, node: Node, inventory: Inventory) -> None:
    found = {domain.instance: domain for domain in inventory.domains}
    for instance in work.after.instances:
        if instance.node == node.id and instance.state == "ready" and work.is_settled("instance", instance.id):
            work.check()
            _check_domain(work, node, instance, found.get(instance.id), inventory.drifts.get(instance.id, Drift()))
    for id in dict.fromkeys([*found, *inventory.seeds]):
        work.check()
        if work.before.find("instance", id) or work.after.find("instance", id):
            _check_place(work, node, id, found.get(id))
        elif work.is_settled("instance", id):
            domain = found.get(id)
            name = "orphan-domain" if domain else "orphan-seed"
            what = f"a {domain.state} domain that no record names" if domain else "a cloud-init seed that no record names"
            why, job = "left by a job that was cut short", domain.job if domain else ""
            request = RemoveOrphanDomain(node=node.name, domain=id)
            work.orphan(f"{node.name}:{id}", f"domain {node.name}:{id}", name, what, why, job, request)


def _check_place(work: _Work, node: Node, id: str, domain: FoundDomain | None) -> None:
    """A domain on a node that is not its instance's must not run there."""
    instance: Instance | None = work.after.find("instance", id)
    if instance and domain and instance.node != node.id and work.is_settled("instance", id):
        home = work.after.find("node", instance.node)
        work.find(
            f"{node.name}:{id}",
            ERROR if domain.state in ("running", "paused") else WARNING,
            instance,
            "misplaced-domain",
            f"{node.name} has a {domain.state} domain of it, but its place is {home.name if home else instance.node}",
            "it was left behind, or defined by hand",
            f"on {node.name}: virsh undefine {id}, after making sure that it does not run",
        )


def _check_domain(work: _Work, node: Node, instance: Instance, domain: FoundDomain | None, drift: Drift) -> None:
    repair = RepairInstance(instance=instance.name)
    if domain is None:
        work.find(
            instance.id,
            ERROR if instance.desired == "running" else WARNING,
            instance,
            "missing-domain",
            f"{node.name} has no domain of it",
            "it was undefined behind Covey's back; its disks are not touched by that",
            AND_FIX,
            repair,
        )
        return
    if domain.definition != digest(domain_of(work.after, instance)) or drift.definition:
        told = f": {'; '.join(drift.definition)}" if drift.definition else ""
        work.find(
            instance.id,
            WARNING,
            instance,
            "definition-drift",
            f"its domain on {node.name} is not what the record describes{told}",
            "it was changed by hand, or a change was cut short; a running guest takes the repaired definition at its next start",
            AND_FIX,
            repair,
        )
    if drift.run:
        work.find(
            instance.id,
            WARNING,
            instance,
            "run-drift",
            f"the running guest is not what Covey started: {'; '.join(drift.run)}",
            "it was changed by hand while it runs; its definition is not touched by that",
            f"undo it by hand, or: covey instance reboot {instance.name}",
        )
    waits = pending(shape_of(instance), domain.live) if domain.live else ()
    if waits:
        told = ", ".join(f"{one.sentence} (now {one.now})" for one in named_pending(work.after, waits))
        work.find(
            instance.id,
            WARNING,
            instance,
            "waits",
            f"it runs otherwise than recorded; at its next start: {told}",
            "it was changed since it started, and a running guest cannot take all",
            f"covey instance reboot {instance.name}",
        )
    if instance.raw_xml:
        work.find(
            instance.id,
            WARNING,
            instance,
            "raw-xml",
            f"its domain has raw XML of {len(instance.raw_xml.splitlines())} lines, which Covey does not look into",
            "an administrator added it",
            f"nothing, if it is still wanted; else: covey instance modify {instance.name} --raw-xml none",
        )
    if instance.desired == "running" and domain.state in ("stopped", "crashed"):
        _find_lost(work, instance, domain, repair)
    elif instance.desired == "running" and domain.state == "paused":
        work.find(
            instance.id,
            ERROR,
            instance,
            "paused",
            "it is paused, and should run",
            "its pool may be full, or somebody paused it by hand",
            f"make room in its pool, then: {AND_FIX}",
            repair,
        )
    elif instance.desired == "stopped" and domain.state in ("running", "paused"):
        work.find(
            instance.id,
            ERROR,
            instance,
            "should-be-stopped",
            f"it is {domain.state}, and should be stopped",
            "it was started behind Covey's back",
            f"covey instance start {instance.name} to keep it running, or: {AND_FIX}",
            repair,
        )


def _find_lost(work: _Work, instance: Instance, domain: FoundDomain, repair: Request) -> None:
    observed = work.after.observed(instance.id)
    if observed.gave_up:
        why = f"it crashed {len(observed.crashes)} times, then Covey gave up"
    elif observed.restart_at:
        why = "it crashed; Covey restarts it by itself in a moment"
    else:
        why = "its process is gone"
    severity = WARNING if observed.restart_at and not observed.gave_up else ERROR
    work.find(instance.id, severity, instance, "lost", f"it is {domain.state}, and should run", why, AND_FIX, repair)


def _check_images(work: _Work, node: Node, inventory: Inventory) -> None:
    found = dict(inventory.images)
    for image in work.after.all("image", Image):
        if image.state == "ready" and work.is_settled("image", image.id):
            work.check()
            if image.id not in found:
                work.find(
                    f"{node.name}:{image.id}",
                    ERROR,
                    image,
                    "missing-image",
                    f"its file is not on {node.name}",
                    "it was removed behind Covey's back; disks cloned from it cannot be read without it",
                    f"restore {image.id} in the image directory of {node.name} (sha256 {image.sha256[:16]}...)",
                )
    for id, job in found.items():
        work.check()
        if not (work.before.find("image", id) or work.after.find("image", id)) and work.is_settled("image", id):
            request = RemoveOrphanImage(node=node.name, image=id)
            what = "a file that no record names"
            work.orphan(f"{node.name}:{id}", f"image {node.name}:{id}", "orphan-image", what, NO_TAG, job, request)


def _check_networks(work: _Work, node: Node, inventory: Inventory) -> None:
    found = {network.id: network for network in inventory.networks}
    for network in work.after.all("network", Network):
        if work.is_settled("network", network.id):
            work.check()
            present = found.get(network.id)
            if present is None or not present.intact:
                _find_broken(work, node, network, present)
    for id, present in found.items():
        work.check()
        known = work.before.find("network", id) or work.after.find("network", id)
        if not known and work.is_settled("network", id) and f"bridge/{present.bridge}" not in work.busy:
            work.orphan(
                f"{node.name}:{id}",
                f"network {node.name}:{present.bridge or id}",
                "orphan-network",
                "a bridge of Covey's that no record names"
                if present.bridge
                else "packet rules of a network that no record names",
                NO_TAG,
                present.job,
                RemoveOrphanNetwork(node=node.name, network=id, bridge=present.bridge),
            )


def _find_broken(work: _Work, node: Node, network: Network, present: FoundNetwork | None) -> None:
    what = f"{node.name} has no bridge {network.bridge}" if present is None else f"on {node.name}: {present.why}"
    if network.adopted:
        why, fix = "it is the site's own: Covey does not make or change it", f"on {node.name}: bring {network.bridge} up again"
        work.find(f"{node.name}:{network.id}", ERROR, network, "network-broken", what, why, fix)
    else:
        why = "bridges do not outlive a restart of the machine, and can be changed by hand"
        request = RepairNetwork(network=network.name)
        work.find(f"{node.name}:{network.id}", ERROR, network, "network-broken", what, why, AND_FIX, request)


def _check_filters(work: _Work, node: Node, found: FoundFilters) -> None:
    """What a node keeps of filters is what the records say, and its packet rules are what it keeps."""
    work.check()
    if found.why and not any(name.startswith("instance/") for name in work.busy):
        work.find(
            node.id,
            ERROR,
            node,
            "filters-broken",
            f"its packet rules of NICs are not as they should be: {found.why}",
            "they were flushed or changed by hand (a restart of the nftables service flushes all); Covey mends them within a minute",
            AND_FIX,
            RepairFilters(node=node.name),
        )
    for firewall in work.after.all("firewall", Firewall):
        if work.is_settled("firewall", firewall.id):
            work.check()
            if found.firewalls.get(firewall.id) != digest_of_rules(firewall.rules):
                work.find(
                    f"{node.name}:{firewall.id}",
                    ERROR,
                    firewall,
                    "firewall-drift",
                    f"{node.name} does not have its rules as the record says",
                    "a change was cut short, or the file that keeps it was lost",
                    AND_FIX,
                    RepairFilters(node=node.name),
                )
    for instance in work.after.instances:
        if instance.node == node.id and instance.nics and instance.state == "ready" and work.is_settled("instance", instance.id):
            work.check()
            if found.instances.get(instance.id) != digest_of_filters(filters_of(work.after, instance)):
                work.find(
                    instance.id,
                    ERROR,
                    instance,
                    "filter-drift",
                    f"{node.name} does not filter its NICs as the record says",
                    "a change was cut short, its network was changed, or the file that keeps it was lost",
                    AND_FIX,
                    RepairInstance(instance=instance.name),
                )
    for id in found.instances:
        work.check()
        if not (work.before.find("instance", id) or work.after.find("instance", id)) and work.is_settled("instance", id):
            work.orphan(
                f"{node.name}:{id}",
                f"domain {node.name}:{id}",
                "orphan-filter",
                "packet rules that no record names",
                "left by a job that was cut short",
                "",
                RemoveOrphanDomain(node=node.name, domain=id),
            )


def _check_states(work: _Work) -> None:
    """Records that no job is at, but which say that one is."""
    for instance in work.after.instances:
        work.check()
        if instance.state != "ready" and work.is_settled("instance", instance.id):
            removing = instance.state in ("removing", "purging")
            work.find(
                instance.id,
                WARNING,
                instance,
                "unfinished",
                f"it is {instance.state}, but no job is at it",
                "its job ended before it was done: covey job list",
                AND_FIX if removing else f"covey instance remove {instance.name}",
                RemoveInstance(instance=instance.name) if removing else None,
            )


def _check_debris(work: _Work) -> None:
    for debris in work.after.debris:
        work.check()
        node = work.after.find("node", debris.step.node)
        work.find(
            debris.id,
            WARNING,
            f"debris {debris.id}",
            "debris",
            f"{debris.step.title}, left on {node.name if node else debris.step.node} by job {debris.job}",
            debris.why,
            "nothing to do: Covey tries again by itself",
        )
