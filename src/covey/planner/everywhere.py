"""What is on every node: those that answer get it at once, the others when they are back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from covey.model.node import Node
from covey.model.plan import Write, put
from covey.model.view import ClusterView

NODES = "nodes/all"  # shared by plans that reach every node, so that none becomes one meanwhile


def reached(view: ClusterView) -> list[Node]:
    """The nodes that a plan can have steps on, by name: those that answer. When none does, all: the plan then says so."""
    nodes = sorted(view.all("node", Node), key=lambda node: node.name)
    return [node for node in nodes if node.id in view.telemetry] or nodes


def behind(view: ClusterView) -> tuple[Write, ...]:
    """Writes down that the nodes which a plan does not reach must catch up before they host again (see planner.node.equip)."""
    there = {node.id for node in reached(view)}
    away: Iterable[Node] = (node for node in view.all("node", Node) if node.id not in there and node.state == "ready")
    return tuple(put(replace(node, state="behind")) for node in sorted(away, key=lambda node: node.name))
