"""Verbs of disks."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import BadInput, NotFound, Refused, check
from covey.base.units import humane_size
from covey.model.domain import DomainDisk
from covey.model.instance import Disk, Instance
from covey.model.plan import Claim, Plan, change, nothing
from covey.model.requests.disk import MOST_DISKS, AddDisk, GrowDisk, RemoveDisk
from covey.model.steps.disk import (
    EnsureDiskAttached,
    EnsureDiskDetached,
    EnsureGuestSeesSize,
    EnsureVolume,
    EnsureVolumeAbsent,
    EnsureVolumeSize,
)
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_room
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import choose_pool, new_volume, written_at_once
from covey.planner.instance.parts import check_settled, uses_of
from covey.planner.registry import plans

DETACH_TIMEOUT_S = 30.0  # what a guest gets to let a disk go


@plans(AddDisk)
def add(view: ClusterView, request: AddDisk) -> Plan:
    """Add an empty disk, to the running guest too. Raises NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    taken = {disk.index for disk in instance.disks} | _left_behind(view, instance)
    check(len(taken) < MOST_DISKS, Refused(f"it has {MOST_DISKS} disks, which is the most", instance))
    index = next(number for number in range(MOST_DISKS) if number not in taken)
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
    """Take a disk out of the guest and remove its volume."""
    instance = view.instance(request.instance)
    check_settled(instance)
    disk = _disk(instance, request.disk)
    boots_from_it = disk.index == min(other.index for other in instance.disks)
    check(
        not boots_from_it or view.observed(instance.id).state not in ("running", "paused"),
        Refused(
            "the guest runs from this disk", f"disk {instance.name}/{disk.index}", f"first: covey instance stop {instance.name}"
        ),
    )
    after = replace(instance, disks=tuple(d for d in instance.disks if d.index != disk.index))
    return Plan(
        f"remove disk {disk.index} of {humane_size(disk.size)} from {instance}",
        (
            EnsureDiskDetached(node=instance.node, instance=instance.id, disk=disk.index, timeout_s=DETACH_TIMEOUT_S),
            EnsureVolumeAbsent(node=instance.node, volume=disk.volume),
        ),
        uses_of(instance),
        warnings=(f"what is on disk {disk.index} is lost",),
        success=(change(after, "disks"),),
        repair=f"covey disk remove {instance.name} {disk.index}",
    )


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
