"""Which planner answers which request, and what holds for every plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from covey.base.errors import Bug, Refused, Unavailable, check, require
from covey.model.plan import Plan
from covey.model.request import Request
from covey.model.view import ClusterView
from covey.planner.everywhere import marking_others

Q = TypeVar("Q", bound=Request)
Planner = Callable[[ClusterView, Any], Plan]
_planners: dict[str, Planner] = {}


def plans(request: type[Q]) -> Callable[[Callable[[ClusterView, Q], Plan]], Callable[[ClusterView, Q], Plan]]:
    """Decorator: this function plans that request."""

    def register(planner: Callable[[ClusterView, Q], Plan]) -> Callable[[ClusterView, Q], Plan]:
        _planners[request.kind] = planner
        return planner

    return register


_WHILE_RECONCILING = frozenset({"cluster.reconcile", "instance.stop", "token.add", "token.remove"})
_OF_ONE_NODE = frozenset({"cluster.init", "node.equip"})  # what they give to one, the others have


def plan(view: ClusterView, request: Request) -> Plan:
    """The plan for `request` on `view`. Raises BadInput, NotFound, Refused, NoSpace, or Unavailable when a node it needs has not said
    what it can do."""
    import covey.planner.verbs  # noqa: F401  (its modules register the planners)

    check(
        not view.is_reconciling or request.kind in _WHILE_RECONCILING,
        Refused(
            "the records were brought back, and may not say what runs: nothing is changed by them yet",
            request.title,
            "covey cluster reconcile --dry-run, then without",
        ),
    )
    planner = require(_planners.get(request.kind), Bug(f"no planner for {request.kind}"))
    plan = planner(view, request)
    if request.kind not in _OF_ONE_NODE:
        plan = marking_others(view, plan)
    _check_known_kinds(view, plan)
    return plan


def _check_known_kinds(view: ClusterView, plan: Plan) -> None:
    """Every node's agent knows the steps that it is given (P14)."""
    for node in {step.node for step in plan.steps}:
        record = view.find("node", node)
        name = record.name if record else node
        telemetry = require(
            view.telemetry.get(node),
            Unavailable("its agent has not answered since Covey started", f"node {name}", "see: covey status"),
        )
        unknown = sorted({step.kind for step in plan.steps if step.node == node} - set(telemetry.kinds))
        check(
            not unknown,
            Refused(f"its agent does not know {', '.join(unknown)}", f"node {name}", f"upgrade Covey on {name} first"),
        )
