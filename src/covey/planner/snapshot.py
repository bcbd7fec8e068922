"""Verbs of snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from covey.base.errors import Refused, check
from covey.base.units import humane_size
from covey.model.instance import Disk, Instance
from covey.model.plan import Plan, change, put
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.model.snapshot import Layer, Snapshot, SnapshotDisk
from covey.model.step import ResultOf, Step
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.instance import EnsureStopped
from covey.model.steps.snapshot import EnsureDisksReplaced, EnsureFrozen
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.instance.parts import check_settled, check_unprotected, domain_of, uses_of
from covey.planner.layers import Tree, check_can_freeze, freeze, overlays, removal, uses_with_layers
from covey.planner.merging import Merging
from covey.planner.registry import plans

MOST_SNAPSHOTS = 100  # of one instance


@plans(AddSnapshot)
def add(view: ClusterView, request: AddSnapshot) -> Plan:
    """Freeze all disks at one moment, also of a running guest. Raises Refused, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    name = request.name or datetime.fromtimestamp(request.now, UTC).strftime("%Y%m%d-%H%M%S")
    own = view.snapshots(instance)
    check(
        all(snapshot.name != name for snapshot in own),
        Refused(f"it has a snapshot {name} already", instance, f"see: covey snapshot list {instance.name}"),
    )
    check(
        len(own) < MOST_SNAPSHOTS,
        Refused(f"it has {MOST_SNAPSHOTS} snapshots, which is the most", instance, f"covey snapshot list {instance.name}"),
    )
    frozen = freeze(view, request, instance)
    disks = tuple(
        SnapshotDisk(disk.index, layer.id, disk.serial) for disk, layer in zip(frozen.after.disks, frozen.layers, strict=True)
    )
    snapshot = Snapshot(draw_uuid(request, "snapshot"), instance.id, name, request.now, disks, notes=request.notes)
    steps: tuple[Step, ...] = (*frozen.steps, EnsureFrozen(node=instance.node, domain=domain_of(view, frozen.after)))
    return Plan(
        f"take the snapshot {name} of {instance}",
        steps,
        uses_of(frozen.after),
        frozen.claims,
        (_at_rest(view, instance),),
        success=(
            change(frozen.after, "disks"),
            *frozen.writes,
            put(snapshot, quiesced=ResultOf(len(steps) - 1, "quiesced")),
        ),
        repair=f"covey snapshot add {instance.name} {name}",
    )


def _at_rest(view: ClusterView, instance: Instance) -> str:
    if view.observed(instance.id).state in ("running", "paused"):
        return "it runs: as after a power cut, unless its guest agent answers and lets its file systems come to rest"
    return "it is stopped: its file systems are at rest"


@plans(RevertSnapshot)
def revert(view: ClusterView, request: RevertSnapshot) -> Plan:
    """The disks begin anew from what was frozen; what was written since the last snapshot is lost. The guest must be stopped, or is cut
    by request."""
    instance = view.instance(request.instance)
    check_settled(instance)
    check_unprotected(instance)
    snapshot = view.snapshot(instance, request.snapshot)
    runs = view.observed(instance.id).state in ("running", "paused") or instance.desired == "running"
    check(
        request.stop or not runs,
        Refused("it runs", instance, f"stop it first: covey instance stop {instance.name}, or let it be cut: --stop"),
    )
    tree = Tree(view)
    restored: list[tuple[Disk, Layer]] = []
    for kept in snapshot.disks:
        layer = tree.layers[kept.layer]
        present = next((disk for disk in instance.disks if disk.index == kept.index), None)
        check(
            present is None or (present.serial or present.volume.id) == kept.serial,
            Refused(
                f"disk {kept.index} is another one by now", instance, f"first: covey disk remove {instance.name} {kept.index}"
            ),
        )
        volume = replace(layer.volume, id=draw_uuid(request, f"above/{kept.index}"))
        disk = Disk(kept.index, layer.pool, volume, layer.image, layer.id, kept.serial)
        check_can_freeze(view, instance, disk)
        restored.append((disk, layer))
    steps, claims = overlays(view, instance, [(disk, layer.volume) for disk, layer in restored])
    indexes = {disk.index for disk, _ in restored}
    lost = [disk for disk in instance.disks if disk.index in indexes]
    others = [disk for disk in instance.disks if disk.index not in indexes]
    after = replace(
        instance, disks=tuple(sorted((*others, *(disk for disk, _ in restored)), key=lambda disk: disk.index)), desired="stopped"
    )
    for disk in lost:
        del tree.disks[disk.volume.id]
    for disk, _ in restored:
        tree.disks[disk.volume.id] = instance.id, disk
    gone, forgotten = removal(tree.drop_unneeded(disk.base for disk in lost))
    return Plan(
        f"revert {instance} to the snapshot {snapshot.name}",
        (
            *steps,
            *((EnsureStopped(node=instance.node, instance=instance.id),) if runs else ()),
            EnsureDisksReplaced(node=instance.node, domain=domain_of(view, after)),
            *(EnsureVolumeAbsent(node=instance.node, volume=disk.volume) for disk in lost),
            *gone,
        ),
        uses_with_layers(view, instance, after),
        claims,
        warnings=_losses(view, instance, snapshot, restored, others),
        begin=(put(replace(instance, desired="stopped", desired_by="")),) if runs else (),
        success=(change(after, "disks"), *forgotten),
        undone=(put(instance),) if runs else (),
        repair=f"covey snapshot revert {instance.name} {snapshot.name}",
    )


def _losses(
    view: ClusterView, instance: Instance, snapshot: Snapshot, restored: list[tuple[Disk, Layer]], others: list[Disk]
) -> tuple[str, ...]:
    """What a revert loses, said before it does."""
    latest = view.snapshots(instance)[-1]
    kept = f"; what was written before {latest.name} was taken stays in that" if latest.id != snapshot.id else ""
    losses = [f"what was written to its disks since {latest.name} is lost{kept}"]
    for disk, _ in restored:
        present = next((one for one in instance.disks if one.index == disk.index), None)
        if present is None:
            losses.append(f"disk {disk.index}, removed since, comes back")
        elif present.size != disk.size:
            losses.append(f"disk {disk.index} has {humane_size(disk.size)} again, not {humane_size(present.size)}")
    losses += [f"disk {disk.index} was added since and stays as it is" for disk in others]
    return tuple(losses)


@plans(RemoveSnapshot)
def remove(view: ClusterView, request: RemoveSnapshot) -> Plan:
    """Give up what only this snapshot needs. A layer with one above it takes in what that has, and stands in its place."""
    instance = view.instance(request.instance)
    check_settled(instance)
    snapshot = view.snapshot(instance, request.snapshot)
    merging = Merging(view, instance)
    del merging.tree.snapshots[snapshot.id]
    for kept in snapshot.disks:
        merging.give_up(kept.layer, kept.index)
    merging.tidy()
    return Plan(
        f"remove the snapshot {snapshot.name} of {instance}",
        tuple(merging.steps),
        uses_with_layers(view, instance),
        reasons=tuple(merging.reasons),
        success=merging.writes(),
        repair=f"covey snapshot remove {instance.name} {snapshot.name}",
    )
