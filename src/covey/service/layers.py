"""What cluster verify finds wrong with layers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from covey.base.units import humane_size
from covey.model.node import Node
from covey.model.pool import FoundVolume
from covey.model.snapshot import Layer
from covey.model.view import ClusterView
from covey.planner.layers import Tree
from covey.planner.wording import named

FOREIGN = "files were moved or changed behind Covey's back"
NO_FIX = "stop who uses it, and bring its file back from a backup"


@dataclass(frozen=True, slots=True)
class Trouble:
    """As in Finding."""

    object: str
    name: str
    what: str
    why: str
    fix: str


def layer_troubles(view: ClusterView, node: Node, layer: Layer, found: FoundVolume | None) -> Iterator[Trouble]:
    """`found` is the layer's volume as its node has it."""
    object = f"layer {node.name}:{layer.volume.place.path}/{layer.id}"
    if found is None or not (found.size or found.used):
        yield Trouble(object, "missing-layer", f"it is gone; without it cannot be read: {_users(view, layer)}", FOREIGN, NO_FIX)
    elif found.base != layer.base:
        what = f"it lies on {found.base or 'nothing'}, not on {layer.base or 'nothing'}; it is needed by {_users(view, layer)}"
        yield Trouble(object, "broken-chain", what, FOREIGN, NO_FIX)
    elif found.size != layer.volume.size:
        what = f"it has {humane_size(found.size)}, the record says {humane_size(layer.volume.size)}"
        yield Trouble(object, "wrong-size", f"{what}; it is needed by {_users(view, layer)}", FOREIGN, NO_FIX)


def _users(view: ClusterView, layer: Layer) -> str:
    """Instances with disks on it, and the snapshots that hold it."""
    tree = Tree(view)
    users = tree.users(layer.id)
    instances = {instance.id: instance.name for instance in view.instances}
    snapshots = [f"{instances.get(one.instance, one.instance)}'s snapshot {one.name}" for one in tree.snapshots_of(layer.id)]
    kept = [one.title for one in view.removed if f"removed/{one.id}" in users]
    return named(sorted(instances[id] for id in users if id in instances) + sorted((*snapshots, *kept))) or "nobody"
