"""Verify and its repairs, and `covey status`: what is wrong now, since when, and what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from covey.base.config import find_looseness
from covey.base.errors import CoveyError, Unavailable
from covey.base.units import humane_duration, humane_size
from covey.controller.backups import last_backup
from covey.model.network import Network
from covey.model.node import Node, Telemetry
from covey.model.order import Inventory
from covey.model.pool import FLOOR_BYTES, FLOOR_FRACTION, Pool
from covey.model.view import ClusterView
from covey.placement.choose import purgeable
from covey.placement.links import guests_on, missing_link, way_to_link
from covey.service.access import Principal, check_allowed
from covey.service.documents import Document, at
from covey.service.inside import Inside
from covey.service.submit import Options, Submissions
from covey.service.verify import ERROR, WARNING, Finding, Verdict, verify, way_to_a_silent_node

INVENTORY_LIMIT_S = 60.0
BACKUP_GRACE_S = 86400.0  # a night without power is no reason to say anything
Line = dict[str, Any]


async def verify_now(inside: Inside) -> tuple[Verdict, float]:
    """Ask every node what it has, and compare. Returns the seconds that took, too. Raises Refused before `cluster init`."""
    before = inside.view
    before.check_initialised()
    started = inside.clock.monotonic()
    nodes = list(before.collections["node"])
    inventories = await asyncio.gather(*(inventory_of(inside, node) for node in nodes))
    verdict = verify(before, inside.view, dict(zip(nodes, inventories, strict=True)), inside.engine.last)
    return verdict, inside.clock.monotonic() - started


async def inventory_of(inside: Inside, node: str) -> Inventory | None:
    """None when the node gives no answer: that is a finding, not a failure."""
    try:
        async with asyncio.timeout(INVENTORY_LIMIT_S):
            return await inside.nodes.inventory(node)
    except (Unavailable, TimeoutError):
        return None


def finding_document(finding: Finding) -> Document:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "object": finding.object,
        "name": finding.name,
        "what": finding.what,
        "why": finding.why,
        "fix": finding.fix,
        "fixable": finding.request is not None,
    }


def verdict_document(verdict: Verdict, seconds: float) -> Document:
    return {
        "findings": [finding_document(finding) for finding in verdict.findings],
        "checks": verdict.checks,
        "nodes": verdict.nodes,
        "instances": verdict.instances,
        "seconds": round(seconds, 3),
    }


async def fix(
    inside: Inside, submissions: Submissions, principal: Principal, wanted: frozenset[str]
) -> tuple[list[int], list[Finding]]:
    """One job for each repair that the wanted findings need, if they still hold; and the findings that no job mends. Raises what
    verifying raises, and Denied."""
    check_allowed(principal, "cluster.fix")
    verdict, _ = await verify_now(inside)
    jobs: dict[str, int] = {}
    left: list[Finding] = []
    for finding in verdict.findings:
        if finding.id not in wanted:
            continue
        if finding.request is None:
            left.append(finding)
        elif finding.request.title not in jobs:  # several findings may need the same repair
            try:
                taken = await submissions.take(
                    principal, finding.request, Options(reason=f"cluster verify --fix: {finding.name}")
                )
            except CoveyError as error:
                left.append(replace(finding, why=f"it cannot be mended now: {error}", request=None))
                continue
            jobs[finding.request.title] = taken.id
    return list(jobs.values()), left


def status(inside: Inside) -> Document:
    """One screen: is all well, and if not, what is to be done."""
    view = inside.view
    lines = list(_findings(inside, view))
    order = {ERROR: 0, WARNING: 1}
    lines.sort(key=lambda line: (order[line["severity"]], line["object"]))
    states = Counter(view.observed(i.id).state if i.state == "ready" else i.state for i in view.instances)
    answering = sum(1 for node in view.collections["node"] if node in view.telemetry)
    return {
        "cluster": view.cluster.name if view.is_initialised else None,
        "well": not lines,
        "summary": _summary(view, lines),
        "findings": lines,
        "nodes": {"all": len(view.collections["node"]), "answering": answering},
        "leader": _leader(view),
        "copies": [copy.node for copy in inside.copies()],
        "instances": {"all": len(view.collections["instance"]), **{state: states[state] for state in sorted(states)}},
        "jobs": dict(sorted(Counter(job.state for job in view.jobs).items())),
        "as_of": at(inside.standing.stale_as_of or inside.clock.now()),
    }


def _leader(view: ClusterView) -> Document | None:
    """The node whose controller leads by the records, since when, and in which epoch; None when nobody ever did."""
    named = view.leadership
    if named is None:
        return None
    node = view.find("node", named.holder)
    return {"node": node.name if isinstance(node, Node) else named.holder, "epoch": named.epoch, "since_at": at(named.since)}


def _summary(view: ClusterView, lines: list[Line]) -> str:
    if not view.is_initialised:
        return "there is no cluster here yet"
    if not lines:
        return "all is well"
    errors = sum(1 for line in lines if line["severity"] == ERROR)
    warnings = len(lines) - errors
    parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((errors, "error"), (warnings, "warning")) if count]
    return ", ".join(parts)


def _line(severity: str, object: object, what: str, since: float, advice: str) -> Line:
    return {"severity": severity, "object": str(object), "what": what, "since_at": at(since), "fix": advice}


def _findings(inside: Inside, view: ClusterView) -> Iterator[Line]:
    stale = inside.standing.stale_as_of
    if stale is not None:
        what = f"what is shown may be old, and changes are refused: {inside.standing.sight()}"
        yield _line(ERROR, "cluster", what, stale, "see that most machines run and reach each other; guests run on")
    if not view.is_initialised:
        yield _line(WARNING, "cluster", "there is none yet", 0.0, "covey cluster init NAME")
    if inside.reserve_used():
        advice = "make room on the disk of the state directory at once; changes are refused when the reserve is gone, too"
        yield _line(ERROR, "store", "its disk is full, it lives on its reserve", 0.0, advice)
    for copy in inside.copies():
        if copy.silent_since:
            advice = f"see to {copy.node}: covey node info {copy.node}; one more that fails may stop all changes; guests run on"
            yield _line(WARNING, "store", f"the copy of the records on {copy.node} does not answer", copy.silent_since, advice)
    if inside.room and inside.room.trouble:
        advice = "nothing: room is made by itself; or at once: covey cluster compact"
        yield _line(ERROR, "store", inside.room.trouble, 0.0, advice)
    if loose := find_looseness(inside.config):
        yield _line(WARNING, inside.config, loose, 0.0, f"chown root {inside.config}; chmod o-w {inside.config}")
    if view.restoration and view.is_reconciling:
        what = f"the records were {view.restoration.how}, as they were at {at(view.restoration.made_at)}; nothing is started or changed"
        yield _line(ERROR, "cluster", what, view.restoration.at, "covey cluster reconcile --dry-run, then without")
    yield from _of_backups(inside, view)
    yield from _of_nodes(view)
    yield from _of_instances(view)
    yield from _of_jobs(view)
    for ended in inside.history.needing_repair():
        error = ended.job.error or {}
        what = f"{ended.job.request.title}: {error.get('what', 'it is half done')}"
        yield _line(ERROR, ended.job, what, ended.job.ended_at, str(error.get("hint", "")) or "covey cluster verify")
    for debris in view.debris:
        yield _line(
            WARNING,
            debris,
            f"{debris.step.title} was left behind: {debris.why}",
            debris.since,
            "nothing to do: tried again by itself",
        )


def _of_backups(inside: Inside, view: ClusterView) -> Iterator[Line]:
    """Of the records: that there is a new one, where it matters."""
    if not view.is_initialised:
        return
    last = last_backup(view.find("backup", "last"))
    if last.failed_at:
        yield _line(WARNING, last, f"failed: {last.error}", last.failed_at, "mend that, then: covey cluster backup")
    newest = max(last.made_at, view.cluster.created_at)
    if inside.clock.now() - newest > inside.backup_every_s + BACKUP_GRACE_S:
        what = f"the last is {humane_duration(inside.clock.now() - newest)} old" if last.made_at else "there is none"
        yield _line(WARNING, last, what, newest, "covey cluster backup")


def _of_nodes(view: ClusterView) -> Iterator[Line]:
    for node in view.all("node", Node):
        told = view.telemetry.get(node.id)
        if told is None:
            yield _line(
                ERROR,
                node,
                "its agent does not answer; guests run on",
                0.0,
                way_to_a_silent_node(view, node),
            )
            continue
        for problem in told.problems:
            yield _line(WARNING, node, problem, told.as_of, f"covey node info {node.name}")
        yield from _of_links(view, node, told)
        for pool in view.all("pool", Pool):
            space = view.space(node.id, pool)
            if space is None:
                if pool.capability.holds_volumes:
                    yield _line(
                        ERROR,
                        pool,
                        f"{node.name} cannot reach it",
                        told.as_of,
                        f"mount or restore {pool.place.path} on {node.name}",
                    )
            elif space.free < max(int(space.size * FLOOR_FRACTION), FLOOR_BYTES):
                what = f"{humane_size(max(space.free, 0))} of {humane_size(space.size)} free on {node.name}: nothing new fits"
                yield _line(
                    WARNING,
                    pool,
                    what,
                    told.as_of,
                    f"{purgeable(view, node, pool) or 'remove something'}, or give it a larger disk; guests whose pool is full are paused",
                )


def _of_links(view: ClusterView, node: Node, told: Telemetry) -> Iterator[Line]:
    for network in view.all("network", Network):
        missing = missing_link(view, network, node)
        if missing:
            severity = ERROR if guests_on(view, network, node) else WARNING
            what = f"{missing}: instances on it cannot run there"
            yield _line(severity, network, what, told.as_of, way_to_link(network, node))


def _of_instances(view: ClusterView) -> Iterator[Line]:
    for instance in view.instances:
        observed = view.observed(instance.id)
        if instance.state != "ready" or instance.node not in view.telemetry:
            continue  # a job is at it, or the node's own line says it all
        start = f"covey instance start {instance.name}"
        if observed.state == "crashed":
            if observed.gave_up:
                yield _line(
                    ERROR,
                    instance,
                    f"crashed {len(observed.crashes)} times; given up",
                    observed.since,
                    f"covey instance console {instance.name}, then: {start}",
                )
            elif instance.desired == "running":
                yield _line(
                    WARNING,
                    instance,
                    "crashed; restarted by itself in a moment",
                    observed.since,
                    f"covey instance console {instance.name}",
                )
        elif observed.state == "missing":
            yield _line(ERROR, instance, "its node has no such domain", observed.since, "covey cluster verify --fix")
        elif observed.state == "paused":
            yield _line(ERROR, instance, "paused: its pool may be full", observed.since, f"make room, then: {start}")
        elif view.job_at_work_on(f"instance/{instance.id}"):
            continue  # it is on the way to what is wanted
        elif observed.state == "stopped" and instance.desired == "running":
            yield _line(ERROR, instance, "should run, but does not", observed.since, start)
        elif observed.state == "running" and instance.desired == "stopped":
            yield _line(WARNING, instance, "runs, but should be stopped", observed.since, f"covey instance stop {instance.name}")


def _of_jobs(view: ClusterView) -> Iterator[Line]:
    for job in view.jobs:
        if job.attempt:
            why = str((job.error or {}).get("what", "a step failed"))
            yield _line(WARNING, job, f"{job.request.title}: trying again: {why}", job.planned_at, f"covey job info {job.id}")
