"""The comparison: what the nodes have, and what the records say. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from covey.model.node import Node
from covey.model.order import Inventory
from covey.model.requests.instance import RemoveInstance
from covey.model.view import ClusterView
from covey.service.verify.domains import check_domains
from covey.service.verify.networks import check_filters, check_networks
from covey.service.verify.storage import check_images, check_pools, check_uploads, check_volumes
from covey.service.verify.work import AND_FIX, ERROR, WARNING, Verdict, Work


def verify(before: ClusterView, after: ClusterView, inventories: Mapping[str, Inventory | None], last_job: int) -> Verdict:
    """`inventories` by node id, None where the agent gave no answer; `last_job` is the number of the latest job."""
    work = Work(before, after, _busy(before) | _busy(after), last_job)
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


def _check_node(work: Work, node: Node, inventory: Inventory | None) -> None:
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
    check_pools(work, node)
    check_volumes(work, node, inventory)
    check_uploads(work, node, inventory)
    check_domains(work, node, inventory)
    check_images(work, node, inventory)
    check_networks(work, node, inventory)
    if inventory.filters is not None:
        check_filters(work, node, inventory.filters, frozenset(domain.instance for domain in inventory.domains))


def _check_states(work: Work) -> None:
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


def _check_debris(work: Work) -> None:
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
