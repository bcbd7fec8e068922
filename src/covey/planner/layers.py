"""What lies on what: which layers are needed, and which go with the last that needed them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from covey.base.errors import Refused, check
from covey.model.instance import Disk, Instance
from covey.model.plan import Claim, Uses, Write, delete, put
from covey.model.pool import Volume
from covey.model.removed import Removed
from covey.model.request import Request
from covey.model.snapshot import Layer, Snapshot
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.snapshot import EnsureOverlay
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_room
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import written_at_once
from covey.planner.instance.parts import uses_of
from covey.planner.wording import named

MOST_LAYERS = 32  # below one disk: each costs the guest time at every read that reaches down to it


class Tree:
    """Layers, and what needs them, of which a planner takes away in thought. Disks are by their volumes' ids, each with its owner: the id
    of an instance, "removed/ID" while it is only kept, or "stale/ID" until it is cleared."""

    def __init__(self, view: ClusterView) -> None:
        self.layers = {layer.id: layer for layer in view.layers}
        self.disks = {disk.volume.id: (instance.id, disk) for instance in view.instances for disk in instance.disks}
        self.disks |= {disk.volume.id: (f"removed/{one.id}", disk) for one in view.removed for disk in one.instance.disks}
        self.disks |= {disk.volume.id: (f"stale/{one.id}", disk) for one in view.stale for disk in one.instance.disks}
        self.snapshots = {snapshot.id: snapshot for snapshot in view.all("snapshot", Snapshot)}

    def disks_on(self, layer: str) -> list[tuple[str, Disk]]:
        """The disks right above a layer, each with its owner."""
        found = [(owner, disk) for owner, disk in self.disks.values() if disk.base == layer]
        return sorted(found, key=lambda one: (one[0], one[1].index))

    def layers_on(self, layer: str) -> list[Layer]:
        return sorted((other for other in self.layers.values() if other.base == layer), key=lambda other: other.id)

    def snapshots_of(self, layer: str) -> list[Snapshot]:
        return [snapshot for snapshot in self.snapshots.values() if any(disk.layer == layer for disk in snapshot.disks)]

    def users(self, layer: str) -> set[str]:
        """The owners of all disks that cannot be read without it, also through other layers, and the instances of snapshots on it."""
        users = {owner for owner, _ in self.disks_on(layer)} | {snapshot.instance for snapshot in self.snapshots_of(layer)}
        return users.union(*(self.users(other.id) for other in self.layers_on(layer)))

    def depth(self, layer: str) -> int:
        """How many layers there are from this one down."""
        count = 0
        while layer in self.layers:
            layer, count = self.layers[layer].base, count + 1
        return count

    def drop_unneeded(self, ids: Iterable[str]) -> list[Layer]:
        """Take away those of these layers that nothing needs any more, and what they alone needed below; the topmost first."""
        dropped: list[Layer] = []
        for id in ids:
            while id in self.layers and not (self.disks_on(id) or self.layers_on(id) or self.snapshots_of(id)):
                layer = self.layers.pop(id)
                dropped.append(layer)
                id = layer.base
        return dropped


def owners(view: ClusterView, layers: Iterable[Layer]) -> tuple[set[str], list[Removed]]:
    """Who needs these layers, by disks or snapshots: the names of instances, and removed things that are still kept."""
    tree = Tree(view)
    users = set().union(*(tree.users(layer.id) for layer in layers))
    return (
        {instance.name for instance in view.instances if instance.id in users},
        [one for one in view.removed if f"removed/{one.id}" in users],
    )


def removal(layers: Iterable[Layer]) -> tuple[tuple[Step, ...], tuple[Write, ...]]:
    """The steps and writes after which these layers are gone."""
    gone = list(layers)
    return tuple(EnsureVolumeAbsent(node=layer.node, volume=layer.volume) for layer in gone), tuple(delete(one) for one in gone)


def let_go(
    view: ClusterView, disks: Iterable[Disk], instance: Instance | None = None
) -> tuple[tuple[Step, ...], tuple[Write, ...]]:
    """What goes with disks: layers that nothing else needs. With a whole `instance` its snapshots go, too."""
    tree = Tree(view)
    bases = [tree.disks.pop(disk.volume.id)[1].base for disk in disks if disk.volume.id in tree.disks]
    snapshots = view.snapshots(instance) if instance else []
    for snapshot in snapshots:
        del tree.snapshots[snapshot.id]
        bases += [disk.layer for disk in snapshot.disks]
    steps, writes = removal(tree.drop_unneeded(bases))
    return steps, (*writes, *(delete(snapshot) for snapshot in snapshots))


def layers_below(view: ClusterView, instance: Instance) -> tuple[str, ...]:
    """The layers right below an instance's disks and snapshots, as objects that a plan names."""
    layers = {disk.base for disk in instance.disks if disk.base}
    layers |= {disk.layer for snapshot in view.snapshots(instance) for disk in snapshot.disks}
    return tuple(sorted(f"layer/{id}" for id in layers))


def uses_with_layers(view: ClusterView, instance: Instance, after: Instance | None = None) -> Uses:
    """What a change of an instance and of the layers below its disks and snapshots names: nobody may begin to lie on those meanwhile."""
    uses = uses_of(after or instance)
    return replace(uses, exclusive=(*uses.exclusive, *layers_below(view, instance)))


@dataclass(frozen=True, slots=True)
class Freeze:
    """All disks of an instance frozen: the steps that make what they go on with, and the instance and layers as they are then."""

    steps: tuple[Step, ...]
    claims: tuple[Claim, ...]
    after: Instance
    layers: tuple[Layer, ...]

    @property
    def writes(self) -> tuple[Write, ...]:
        return tuple(put(layer) for layer in self.layers)


def freeze(view: ClusterView, request: Request, instance: Instance) -> Freeze:
    """Raises Refused where a disk cannot be frozen, NoSpace."""
    check(instance.disks, Refused("it has no disks", instance))
    tree = Tree(view)
    for disk in instance.disks:
        check_can_freeze(view, instance, disk)
        check(
            tree.depth(disk.base) < MOST_LAYERS,
            Refused(
                f"disk {disk.index} lies on {MOST_LAYERS} layers, which is the most",
                instance,
                f"remove a snapshot: covey snapshot list {instance.name}; for clones, name one: --snapshot NAME",
            ),
        )
    layers, disks = [], []
    for disk in instance.disks:
        layers.append(
            Layer(disk.volume.id, instance.node, disk.pool, disk.volume, instance.id, request.now, disk.base, disk.image)
        )
        volume = replace(disk.volume, id=draw_uuid(request, f"above/{disk.index}"))
        disks.append(replace(disk, volume=volume, base=disk.volume.id, serial=disk.serial or disk.volume.id))
    steps, claims = overlays(view, instance, [(disk, layer.volume) for disk, layer in zip(disks, layers, strict=True)])
    return Freeze(steps, claims, replace(instance, disks=tuple(disks)), tuple(layers))


def overlays(
    view: ClusterView, instance: Instance, disks: Iterable[tuple[Disk, Volume]]
) -> tuple[tuple[Step, ...], tuple[Claim, ...]]:
    """The steps that make the volumes of these disks, each on the volume beside it, and the room they take. Raises NoSpace."""
    steps = []
    amounts: dict[str, int] = {}
    for disk, base in disks:
        steps.append(EnsureOverlay(node=instance.node, volume=disk.volume, base=base))
        amounts[disk.pool] = amounts.get(disk.pool, 0) + written_at_once(disk.volume, None)
    for pool, amount in amounts.items():
        check_room(view, view.node_by_id(instance.node), Room(view.pool_by_id(pool), amount), instance)
    return tuple(steps), tuple(Claim(instance.node, pool, amount) for pool, amount in amounts.items())


def check_can_freeze(view: ClusterView, instance: Instance, disk: Disk) -> None:
    capability = view.pool_by_id(disk.pool).capability
    check(
        disk.volume.format in capability.snapshot_formats,
        Refused(
            f"disk {disk.index} is {disk.volume.format}, which cannot be frozen",
            instance,
            f"only {named(capability.snapshot_formats) or 'other templates'} can: add a disk of that format, copy, and remove this one",
        ),
    )
