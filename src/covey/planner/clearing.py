"""What moves left behind goes as soon as nobody can need it any more."""

from __future__ import annotations

from covey.base.errors import Unavailable, check
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.plan import Plan, Uses, Write, delete, nothing
from covey.model.requests.move import ClearNode
from covey.model.stale import Stale
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.instance import EnsureInstanceAbsent, EnsureStopped
from covey.model.view import ClusterView
from covey.planner.layers import Tree, removal
from covey.planner.network.laying import no_routes
from covey.planner.registry import plans
from covey.planner.wording import named

AT_ONCE = 20  # of what is left: a plan and its records go in one transaction


def clearable(view: ClusterView, node: Node) -> list[Stale]:
    """What can go from a node: as long as the node where an instance is now does not answer, what it left is the only copy that can be
    read."""
    if node.id not in view.telemetry:
        return []
    left = [stale for stale in view.stale if stale.instance.node == node.id and _is_superseded(view, stale)]
    return sorted(left, key=lambda stale: stale.id)


def _is_superseded(view: ClusterView, stale: Stale) -> bool:
    present: Instance | None = view.find("instance", stale.instance.id)
    return present is None or (present.node != stale.instance.node and present.node in view.telemetry)


@plans(ClearNode)
def clear(view: ClusterView, request: ClearNode) -> Plan:
    """Raises Unavailable while the node does not answer."""
    node = view.node(request.node)
    check(node.id in view.telemetry, Unavailable("its agent does not answer", node, "see: covey status"))
    left = clearable(view, node)[:AT_ONCE]
    if not left:
        return nothing(f"moves have left nothing on {node} that can go")
    layers, forgotten = _layers(view, left)
    return Plan(
        f"clear {node} of what {named(sorted({stale.instance.name for stale in left}))} left there",
        (*(step for stale in left for step in _gone(view, stale)), *layers),
        _uses(left, node),
        success=(*(delete(stale) for stale in left), *forgotten),
        repair=f"covey node clear {node.name}",
    )


def _gone(view: ClusterView, stale: Stale) -> tuple[Step, ...]:
    instance = stale.instance
    return (
        EnsureStopped(node=instance.node, instance=instance.id),
        EnsureInstanceAbsent(node=instance.node, instance=instance.id),
        *no_routes(view, instance),
        *(EnsureVolumeAbsent(node=instance.node, volume=disk.volume) for disk in instance.disks),
    )


def _layers(view: ClusterView, left: list[Stale]) -> tuple[tuple[Step, ...], tuple[Write, ...]]:
    """Layers that only they needed."""
    tree = Tree(view)
    bases = [tree.disks.pop(disk.volume.id)[1].base for stale in left for disk in stale.instance.disks]
    return removal(tree.drop_unneeded(bases))


def _uses(left: list[Stale], node: Node) -> Uses:
    layers = {f"layer/{disk.base}" for stale in left for disk in stale.instance.disks if disk.base}
    return Uses((*(f"stale/{stale.id}" for stale in left), *sorted(layers)), (f"node/{node.id}",))
