"""Verbs of disks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from covey.base.errors import BadInput, NotFound, Refused, check, require
from covey.base.units import humane_duration, humane_size
from covey.model.domain import DomainDisk
from covey.model.instance import Disk, Instance
from covey.model.plan import Claim, Plan, change, delete, nothing, put
from covey.model.removed import Removed
from covey.model.requests.disk import (
    MOST_DISKS,
    AddDisk,
    FlattenDisk,
    GrowDisk,
    ImportDisk,
    RemoveDisk,
    RestoreDisk,
    check_disk_size,
)
from covey.model.step import ResultOf
from covey.model.steps.disk import (
    EnsureDiskAttached,
    EnsureDiskDetached,
    EnsureFlat,
    EnsureGuestSeesSize,
    EnsureImported,
    EnsureUploadAbsent,
    EnsureVolume,
    EnsureVolumeAbsent,
    EnsureVolumesFound,
    EnsureVolumeSize,
)
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_room
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import choose_pool, new_volume, written_at_once
from covey.planner.instance.parts import check_settled, check_unprotected, uses_of
from covey.planner.layers import let_go, uses_with_layers
from covey.planner.registry import plans
from covey.planner.removed import alone_with, purge
from covey.planner.wording import named

DETACH_TIMEOUT_S = 30.0  # what a guest gets to let a disk go


@plans(AddDisk)
def add(view: ClusterView, request: AddDisk) -> Plan:
    """Add an empty disk, to the running guest too. Raises NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    index = _free_index(view, instance)
    pool = choose_pool(view, request.pool, str(instance))
    volume = new_volume(pool, request.size, request.format, draw_uuid(request, "disk"), str(instance))
    room = Room(pool, written_at_once(volume, None))
    check_room(view, view.node_by_id(instance.node), room, instance)
    disk = Disk(index, pool.id, volume)
    after = replace(instance, disks=tuple(sorted((*instance.disks, disk), key=lambda disk: disk.index)))
    return Plan(
        f"add disk {index} of {humane_size(volume.size)} to {instance}",
        (
            EnsureVolume(node=instance.node, volume=volume, image=""),
            EnsureDiskAttached(node=instance.node, instance=instance.id, disk=DomainDisk(index, volume)),
        ),
        uses_of(after),
        (Claim(instance.node, pool.id, room.amount),),
        success=(change(after, "disks"),),
    )


@plans(ImportDisk)
def bring_in(view: ClusterView, request: ImportDisk) -> Plan:
    """Add a disk made of an image that was sent, to the running guest too. Raises BadInput for its size, Refused, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    index = _free_index(view, instance)
    found = request.found
    pool = choose_pool(view, request.pool, str(instance))
    check_disk_size(found.size, "the image that was sent")
    volume = new_volume(pool, found.size, request.format, draw_uuid(request, "disk"), str(instance))
    room = Room(pool, max(written_at_once(volume, None), 0 if volume.format == "raw" else found.needs))
    check_room(view, view.node_by_id(instance.node), room, instance)
    disk = Disk(index, pool.id, volume)
    after = replace(instance, disks=tuple(sorted((*instance.disks, disk), key=lambda disk: disk.index)))
    what = (
        f"a disk of {humane_size(volume.size)}"
        if request.upload
        else f"a disk from the {humane_size(found.length)} that are sent"
    )
    return Plan(
        f"import {what} as disk {index} of {instance}",
        (
            EnsureImported(node=instance.node, volume=volume, upload=request.upload, format=found.format),
            EnsureDiskAttached(node=instance.node, instance=instance.id, disk=DomainDisk(index, volume)),
            EnsureUploadAbsent(node=instance.node, place=pool.place, upload=request.upload),
        ),
        uses_of(after),
        (Claim(instance.node, pool.id, room.amount),),
        (f"it is {found.format}, SHA-256 {found.sha256}",) if request.upload else (),
        success=(change(after, "disks"),),
        repair="covey cluster verify",
    )


@plans(GrowDisk)
def grow(view: ClusterView, request: GrowDisk) -> Plan:
    """Grow a disk; a running guest sees it. Raises NotFound, BadInput, Refused, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    disk = _disk(instance, request.disk)
    pool = view.pool_by_id(disk.pool)
    check(
        pool.capability.can_grow,
        Refused(f"{pool.place.template} disks cannot grow", f"disk {instance.name}/{disk.index}"),
    )
    size = (request.size + 511) // 512 * 512
    check(
        size >= disk.size,
        BadInput(
            f"disks never shrink: it has {humane_size(disk.size)}",
            f"disk {instance.name}/{disk.index}",
            "add a smaller one and copy",
        ),
    )
    if size == disk.size:
        return nothing(f"disk {disk.index} of {instance} has {humane_size(size)} already")
    volume = replace(disk.volume, size=size)
    amount = written_at_once(volume, None) - written_at_once(disk.volume, None)
    check_room(view, view.node_by_id(instance.node), Room(pool, amount), f"disk {instance.name}/{disk.index}")
    after = replace(instance, disks=tuple(replace(d, volume=volume) if d.index == disk.index else d for d in instance.disks))
    return Plan(
        f"grow disk {disk.index} of {instance} from {humane_size(disk.size)} to {humane_size(size)}",
        (
            EnsureVolumeSize(node=instance.node, instance=instance.id, disk=disk.index, volume=volume),
            EnsureGuestSeesSize(node=instance.node, instance=instance.id, disk=disk.index, size=size),
        ),
        uses_of(instance),
        (Claim(instance.node, pool.id, amount),) if amount else (),
        success=(change(after, "disks"),),
        repair=f"covey disk grow {instance.name} {disk.index} {size}",
    )


@plans(RemoveDisk)
def remove(view: ClusterView, request: RemoveDisk) -> Plan:
    """Take a disk out of the guest; its volume stays for a while. With `purge` it goes, also when the disk was removed before."""
    kept = view.find_removed("disk", request.instance, request.disk) if request.purge else None
    owner: Instance | None = view.named("instance", request.instance)
    if kept and (owner is None or all(disk.index != request.disk for disk in owner.disks)):
        return purge(view, kept)
    instance = view.instance(request.instance)
    check_settled(instance)
    check_unprotected(instance)
    disk = _disk(instance, request.disk)
    boots_from_it = disk.index == min(other.index for other in instance.disks)
    check(
        not boots_from_it or view.observed(instance.id).state not in ("running", "paused"),
        Refused(
            "the guest runs from this disk", f"disk {instance.name}/{disk.index}", f"first: covey instance stop {instance.name}"
        ),
    )
    after = replace(instance, disks=tuple(d for d in instance.disks if d.index != disk.index))
    detached = EnsureDiskDetached(node=instance.node, instance=instance.id, disk=disk.index, timeout_s=DETACH_TIMEOUT_S)
    keep_s = view.cluster.defaults.keep_removed_s
    summary = f"remove disk {disk.index} of {humane_size(disk.size)} from {instance}"
    if request.purge or not keep_s:
        gone, forgotten = let_go(view, (disk,))
        return Plan(
            summary,
            (detached, EnsureVolumeAbsent(node=instance.node, volume=disk.volume), *gone),
            uses_with_layers(view, instance),
            warnings=(_loss(view, instance, disk),),
            success=(change(after, "disks"), *forgotten),
            repair=f"covey disk remove {instance.name} {disk.index} --purge",
        )
    lone = replace(instance, disks=(disk,))
    removed = Removed(disk.volume.id, "disk", lone, request.now, request.now + keep_s, request.by, request.reason)
    return Plan(
        f"{summary}; it is kept for {humane_duration(keep_s)}",
        (EnsureVolumesFound(node=instance.node, instance=instance.id, volumes=(disk.volume,), needed=False), detached),
        alone_with(uses_of(instance), removed),
        reasons=(f"it can be had back until then: covey disk restore {instance.name} {disk.index}",),
        success=(change(after, "disks"), put(removed, used=ResultOf(0, "used"))),
        repair=f"covey disk remove {instance.name} {disk.index}",
    )


def _loss(view: ClusterView, instance: Instance, disk: Disk) -> str:
    kept = [snapshot.name for snapshot in view.snapshots(instance) if any(one.index == disk.index for one in snapshot.disks)]
    return f"what is on disk {disk.index} is lost" + (f", save what is in {named(kept)}" if kept else "")


@plans(RestoreDisk)
def restore(view: ClusterView, request: RestoreDisk) -> Plan:
    """Give a removed disk back, to a running guest too: under its number when that is free. Raises NotFound, Refused."""
    label = f"disk {request.instance}/{request.disk}"
    kept = require(
        view.find_removed("disk", request.instance, request.disk),
        NotFound("no removed disk was that", label, "see: covey instance list --removed"),
    )
    instance = view.instance(request.to or request.instance)
    check_settled(instance)
    check(
        request.to or kept.instance.id == instance.id,
        Refused("it was a disk of another instance of that name", label, f"if you want it there: add --to {instance.name}"),
    )
    check(kept.instance.node == instance.node, Refused(f"it lies on another node than {instance}", label))
    index = _free_index(view, instance, kept.disk.index)
    disk = replace(kept.disk, index=index)
    after = replace(instance, disks=tuple(sorted((*instance.disks, disk), key=lambda disk: disk.index)))
    return Plan(
        f"restore {kept.title} as disk {index} of {instance}",
        (
            EnsureVolumesFound(node=instance.node, instance=instance.id, volumes=(disk.volume,), needed=True),
            EnsureDiskAttached(node=instance.node, instance=instance.id, disk=DomainDisk(index, disk.volume, disk.serial)),
        ),
        alone_with(uses_of(after), kept),
        success=(change(after, "disks"), delete(kept)),
    )


@plans(FlattenDisk)
def flatten(view: ClusterView, request: FlattenDisk) -> Plan:
    """Copy into a disk what it lies on, also while its guest runs; layers that nothing else needs go. Raises NotFound, Refused, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    disk = _disk(instance, request.disk)
    if not (disk.base or disk.image):
        return nothing(f"disk {disk.index} of {instance} lies on nothing already")
    pool = view.pool_by_id(disk.pool)
    amount = _most_copied(view, disk)
    check_room(view, view.node_by_id(instance.node), Room(pool, amount), f"disk {instance.name}/{disk.index}")
    flat = replace(disk, image="", base="")
    gone, forgotten = let_go(view, (disk,))
    return Plan(
        f"make disk {disk.index} of {instance} independent of what it lies on",
        (EnsureFlat(node=instance.node, instance=instance.id, disk=disk.index, volume=disk.volume), *gone),
        uses_with_layers(view, instance),
        (Claim(instance.node, pool.id, amount),) if amount else (),
        tuple(_what_is_copied(view, instance, disk, amount)),
        success=(change(replace(instance, disks=tuple(flat if d is disk else d for d in instance.disks)), "disks"), *forgotten),
        repair=f"covey disk flatten {instance.name} {disk.index}",
    )


def _most_copied(view: ClusterView, disk: Disk) -> int:
    """The most bytes that a disk can take in from below: how much of that is holes, or written over, only its node knows."""
    if disk.volume.format == "raw":
        return 0  # it has been a copy from the start
    layer, image = view.find("layer", disk.base), view.find("image", disk.image)
    below = layer.volume.size if layer else image.size if image else disk.size
    return min(disk.size, below)


def _what_is_copied(view: ClusterView, instance: Instance, disk: Disk, amount: int) -> Iterator[str]:
    if amount:
        yield f"at most {humane_size(amount)} are copied into it; the guest may go on meanwhile"
    kept = {one.id for one in view.layers} - {write.key.rpartition("/")[2] for write in let_go(view, (disk,))[1]}
    names = [
        one.name for one in view.snapshots(instance) if any(part.layer in kept and part.index == disk.index for part in one.disks)
    ]
    if names:
        yield f"its snapshots stay, and what they lie on with them: {named(names)}"


def _free_index(view: ClusterView, instance: Instance, wish: int = -1) -> int:
    """The wished number of a further disk if it is free, else the first that is. Raises Refused."""
    taken = {disk.index for disk in instance.disks} | _left_behind(view, instance)
    check(len(taken) < MOST_DISKS, Refused(f"it has {MOST_DISKS} disks, which is the most", instance))
    return wish if wish >= 0 and wish not in taken else next(number for number in range(MOST_DISKS) if number not in taken)


def _left_behind(view: ClusterView, instance: Instance) -> set[int]:
    """Indexes of disks that an undo could not yet detach: whoever had the same index would be detached in their place."""
    steps = [debris.step for debris in view.debris]
    return {step.disk.index for step in steps if isinstance(step, EnsureDiskAttached) and step.instance == instance.id}


def _disk(instance: Instance, index: int) -> Disk:
    for disk in instance.disks:
        if disk.index == index:
            return disk
    has = ", ".join(str(disk.index) for disk in instance.disks) or "none"
    raise NotFound(f"it has no disk {index} (it has: {has})", instance, f"see: covey instance info {instance.name}")
