"""node drain, evacuate and undrain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from covey.base.errors import CoveyError
from covey.model import codec
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.plan import Plan, Uses, change, nothing
from covey.model.record import key_of
from covey.model.request import Request
from covey.model.requests.drain import DrainNode, EvacuateNode, UndrainNode
from covey.model.requests.move import MoveInstance
from covey.model.view import ClusterView
from covey.planner.network.laying import changed
from covey.planner.registry import plan as plan_of
from covey.planner.registry import plans

AT_ONCE = 2  # of a node's instances that go at a time: each reads a disk there, and sends it


@plans(DrainNode)
def drain(view: ClusterView, request: DrainNode) -> Plan:
    return _empty(view, request, also_stopped=False)


@plans(EvacuateNode)
def evacuate(view: ClusterView, request: EvacuateNode) -> Plan:
    return _empty(view, request, also_stopped=True)


@plans(UndrainNode)
def undrain(view: ClusterView, request: UndrainNode) -> Plan:
    node = view.node(request.node)
    if not node.drained_at:
        return nothing(f"{node} hosts already")
    after = replace(node, drained_at=0.0, drain_reason="")
    return Plan(
        f"{node} hosts again",
        uses=_uses(node),
        reasons=("what went to other nodes stays there",),
        success=(change(after, "drained_at", "drain_reason"),),
    )


@dataclass(slots=True)
class _Leaving:
    """What goes from a node, with the sentence where to; and what stays, with why."""

    going: list[Request]
    where: list[str]
    staying: list[str]


def _empty(view: ClusterView, request: DrainNode, also_stopped: bool) -> Plan:
    node = view.node(request.node)
    after = replace(node, drained_at=node.drained_at or request.now, drain_reason=request.reason or node.drain_reason)
    leaving = _leaving(changed(view, after), node, request, also_stopped)
    if node.drained_at and not leaving.going and after == node:
        return nothing(f"{node} is drained already{'; ' if leaving.staying else ''}{'; '.join(leaving.staying)}")
    count = len(leaving.going)
    return Plan(
        f"drain {node}: it hosts nothing new" + (f", and {count} instance{'' if count == 1 else 's'} go" if count else ""),
        uses=_uses(node),
        reasons=tuple(leaving.where),
        warnings=tuple(leaving.staying),
        success=(change(after, "drained_at", "drain_reason"),),
        children=tuple(leaving.going),
        at_once=AT_ONCE,
    )


def _uses(node: Node) -> Uses:
    """Its draining for itself: a later word on that takes the place of an earlier one. Whoever is at the node otherwise may go on."""
    return Uses((f"drain/{node.id}",), (f"node/{node.id}",))


def _leaving(view: ClusterView, node: Node, request: DrainNode, also_stopped: bool) -> _Leaving:
    """Each is planned behind those before it, so that what cannot go is known at once; where each goes is settled when it does."""
    found = _Leaving([], [], [])
    for instance in sorted((one for one in view.instances if one.node == node.id), key=lambda one: one.name):
        way = _way(view, instance, also_stopped)
        if isinstance(way, str):
            found.staying.append(f"{instance.name} stays: {way}")
            continue
        try:
            plan = plan_of(view, replace(way, seed=request.seed, now=request.now))
        except CoveyError as error:
            found.staying.append(f"{instance.name} stays: {error.what}")
            continue
        found.going.append(way)
        found.where.append(plan.summary)
        view = _gone(view, instance, plan)
    return found


def _way(view: ClusterView, instance: Instance, also_stopped: bool) -> Request | str:
    """How it goes, or why it does not."""
    if instance.desired == "running" or view.observed(instance.id).state in ("running", "paused"):
        migrate: Any = codec.members(Request).get("instance.migrate")  # a release without it has no way for what runs
        return migrate(instance=instance.name) if migrate else f"it runs; first: covey instance stop {instance.name}"
    if also_stopped:
        return MoveInstance(instance=instance.name)
    return f"it is stopped; that goes with: covey node evacuate {view.node_by_id(instance.node).name}"


def _gone(view: ClusterView, instance: Instance, plan: Plan) -> ClusterView:
    """The view once it is where its plan brings it."""
    for write in (*plan.begin, *plan.success):
        if write.key == key_of(instance) and write.record:
            return changed(view, replace(instance, node=write.record["node"]))
    return view
