"""Verbs of nodes."""

from __future__ import annotations

from dataclasses import replace

from covey.model.plan import Plan, Uses, nothing, put
from covey.model.requests.node import ModifyNode, PingNode
from covey.model.steps.node import EnsureAnswer
from covey.model.view import ClusterView
from covey.planner.registry import plans


@plans(PingNode)
def ping(view: ClusterView, request: PingNode) -> Plan:
    node = view.node(request.node)
    return Plan(f"ask the agent of {node.name} for an answer", (EnsureAnswer(node=node.id),), Uses(shared=(f"node/{node.id}",)))


@plans(ModifyNode)
def modify(view: ClusterView, request: ModifyNode) -> Plan:
    node = view.node(request.node)
    if request.notes is None or request.notes == node.notes:
        return nothing(f"{node} is so already")
    return Plan(f"change {node}", uses=Uses(exclusive=(f"node/{node.id}",)), success=(put(replace(node, notes=request.notes)),))
