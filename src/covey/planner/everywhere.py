"""What is on every node: those that answer get it at once, the others when they are back."""

from __future__ import annotations

from dataclasses import replace

from covey.model.node import Node
from covey.model.plan import Plan, change
from covey.model.steps.firewall import EnsureFirewall
from covey.model.steps.network import EnsureNetwork
from covey.model.steps.pool import EnsurePool
from covey.model.view import ClusterView

NODES = "nodes/all"  # shared by plans that reach every node, so that none becomes one meanwhile
_EVERYWHERE = (EnsurePool, EnsureNetwork, EnsureFirewall)


def all_nodes(view: ClusterView) -> list[Node]:
    """By name; for what is to be nowhere any more: a plan that cannot reach one of them says so."""
    return sorted(view.all("node", Node), key=lambda node: node.name)


def reached(view: ClusterView) -> list[Node]:
    """The nodes that get something at once, by name: those that answer. When none does, all: the plan then says so."""
    nodes = all_nodes(view)
    return [node for node in nodes if node.id in view.telemetry] or nodes


def marking_others(view: ClusterView, plan: Plan) -> Plan:
    """The plan, which also writes down which nodes it does not reach with what every node has: they catch up (planner.node.equip) before
    they host again."""
    there = {node.id for node in reached(view)}
    away = [node for node in all_nodes(view) if node.id not in there and node.state == "ready"]
    if not away or not any(isinstance(step, _EVERYWHERE) for step in plan.steps):
        return plan
    writes = tuple(change(replace(node, state="behind"), "state") for node in away)
    warnings = tuple(f"{node.name} does not answer: it gets this when it is back, and hosts nothing new before" for node in away)
    return replace(plan, success=(*plan.success, *writes), warnings=(*plan.warnings, *warnings))
