"""Domains of instances."""

from __future__ import annotations

from covey.host.hypervisor.definition import digest
from covey.model.domain import Drift, FoundDomain
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.order import Inventory
from covey.model.request import Request
from covey.model.requests.repair import (
    RemoveOrphanDomain,
    RepairInstance,
)
from covey.model.shape import pending, shape_of
from covey.planner.instance.modify import named_pending
from covey.planner.instance.parts import domain_of
from covey.service.verify.work import AND_FIX, ERROR, WARNING, Work


def check_domains(work: Work, node: Node, inventory: Inventory) -> None:
    found = {domain.instance: domain for domain in inventory.domains}
    for instance in work.after.instances:
        if instance.node == node.id and instance.state == "ready" and work.is_settled("instance", instance.id):
            work.check()
            _check_domain(work, node, instance, found.get(instance.id), inventory.drifts.get(instance.id, Drift()))
    for id in dict.fromkeys([*found, *inventory.seeds]):
        work.check()
        if any(view.find_stale(id, node.id) for view in (work.before, work.after)):
            continue  # a move left it there: it goes by itself, and is not started
        if work.before.find("instance", id) or work.after.find("instance", id):
            _check_place(work, node, id, found.get(id))
        elif work.is_settled("instance", id):
            domain = found.get(id)
            name = "orphan-domain" if domain else "orphan-seed"
            what = f"a {domain.state} domain that no record names" if domain else "a cloud-init seed that no record names"
            why, job = "left by a job that was cut short", domain.job if domain else ""
            request = RemoveOrphanDomain(node=node.name, domain=id)
            work.orphan(f"{node.name}:{id}", f"domain {node.name}:{id}", name, what, why, job, request)


def _check_place(work: Work, node: Node, id: str, domain: FoundDomain | None) -> None:
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


def _check_domain(work: Work, node: Node, instance: Instance, domain: FoundDomain | None, drift: Drift) -> None:
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


def _find_lost(work: Work, instance: Instance, domain: FoundDomain, repair: Request) -> None:
    observed = work.after.observed(instance.id)
    if observed.gave_up:
        why = f"it crashed {len(observed.crashes)} times, then Covey gave up"
    elif observed.restart_at:
        why = "it crashed; Covey restarts it by itself in a moment"
    else:
        why = "its process is gone"
    severity = WARNING if observed.restart_at and not observed.gave_up else ERROR
    work.find(instance.id, severity, instance, "lost", f"it is {domain.state}, and should run", why, AND_FIX, repair)
