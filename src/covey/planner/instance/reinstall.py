"""instance reinstall."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, check, require
from covey.base.units import humane_duration, humane_size
from covey.model.image import Image
from covey.model.instance import Disk, Instance
from covey.model.plan import Claim, Plan, change, put
from covey.model.removed import Removed
from covey.model.requests.instance import ReinstallInstance
from covey.model.step import ResultOf, Step
from covey.model.steps.disk import EnsureVolume, EnsureVolumeAbsent, EnsureVolumesFound
from covey.model.steps.instance import EnsureRedefined, EnsureSeed, EnsureStopped
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_room
from covey.planner.bringing import bringing
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import new_volume, written_at_once
from covey.planner.instance.parts import (
    await_ready,
    check_settled,
    check_unprotected,
    domain_of,
    ready_image,
    running_anew,
    seed_of,
    started,
    uses_of_both,
)
from covey.planner.layers import let_go
from covey.planner.registry import plans
from covey.planner.removed import alone_with


@plans(ReinstallInstance)
def reinstall(view: ClusterView, request: ReinstallInstance) -> Plan:
    """A fresh first disk from the image. The old one is there until the new one is; once the guest was cut, there is no way back.
    Raises Refused without an image, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    check_unprotected(instance)
    old = _first_disk(instance)
    image = _image(view, request, instance, old)
    pool = view.pool_by_id(old.pool)
    volume = new_volume(pool, max(old.size, image.size), old.volume.format, draw_uuid(request, "disk"), str(instance))
    room = Room(pool, written_at_once(volume, image))
    check_room(view, view.node_by_id(instance.node), room, instance)
    disk = Disk(old.index, old.pool, volume, image.id)
    after = replace(instance, disks=tuple(disk if one is old else one for one in instance.disks))
    runs = instance.desired == "running"
    if runs:
        after = started(view, after, "")
    summary = f"reinstall {instance} from {image}" + (" and start it" if runs else "")
    plan = Plan(
        summary,
        _steps(view, instance, after, disk, runs),
        uses_of_both(instance, after),
        (Claim(after.node, pool.id, room.amount),),
        (f"disk {old.index} gets {humane_size(volume.size)}; {_what_stays(after)}",),
        warnings=("the guest is cut at once",) if runs else (),
        begin=(change(after, "generation", "desired", "desired_by"),),
        success=(change(after, "disks"),),
        undone=(change(instance, "generation", "desired", "desired_by"),),
        awaits=await_ready(view, after) if request.wait_ready and runs else None,
        repair=f"covey instance reinstall {instance.name}",
    )
    return _with_the_old(view, request, instance, old, plan)


def _with_the_old(view: ClusterView, request: ReinstallInstance, instance: Instance, old: Disk, plan: Plan) -> Plan:
    """The plan with what becomes of the old disk: kept for a while as a removed one, if the cluster keeps those."""
    keep_s = view.cluster.defaults.keep_removed_s
    if not keep_s:
        gone, forgotten = let_go(view, (old,))
        return replace(
            plan,
            steps=(*plan.steps, EnsureVolumeAbsent(node=instance.node, volume=old.volume), *gone),
            success=(*plan.success, *forgotten),
            warnings=(f"what is on disk {old.index} is lost", *plan.warnings),
        )
    lone = replace(instance, disks=(old,))
    removed = Removed(old.volume.id, "disk", lone, request.now, request.now + keep_s, request.by, request.reason)
    found = EnsureVolumesFound(node=instance.node, instance=instance.id, volumes=(old.volume,), needed=False)
    return replace(
        plan,
        steps=(found, *plan.steps),
        uses=alone_with(plan.uses, removed),
        reasons=(
            *plan.reasons,
            f"the old disk is kept for {humane_duration(keep_s)}: covey disk restore {instance.name} {old.index}",
        ),
        success=(*plan.success, put(removed, used=ResultOf(0, "used"))),
    )


def _steps(view: ClusterView, before: Instance, after: Instance, disk: Disk, runs: bool) -> tuple[Step, ...]:
    """Until the old disk can go."""
    seed = (EnsureSeed(node=after.node, seed=seed_of(view, after), secret=after.secret),) if after.seeded else ()
    image: Image | None = view.find("image", disk.image)
    steps: tuple[Step, ...] = (
        *bringing(view, after.node, (image,)),
        EnsureVolume(node=after.node, volume=disk.volume, image=disk.image),
        *seed,
        EnsureRedefined(node=after.node, domain=domain_of(view, after), before=domain_of(view, before)),
        EnsureStopped(node=after.node, instance=after.id),
    )
    if not runs:
        return steps
    return (*steps, *running_anew(after))


def _first_disk(instance: Instance) -> Disk:
    first = min(instance.disks, key=lambda disk: disk.index, default=None)
    return require(first, Refused("it has no disk", instance, f"add one: covey disk add {instance.name} 20G"))


def _image(view: ClusterView, request: ReinstallInstance, instance: Instance, disk: Disk) -> Image:
    """The image that was asked for, or the one that the disk was made from."""
    if request.image:
        return ready_image(view, request.image, instance)
    hint = f"name one: covey instance reinstall {instance.name} --image IMAGE"
    check(disk.image, Refused(f"disk {disk.index} was not made from an image", instance, hint))
    known: Image | None = view.find("image", disk.image)
    image = require(known, Refused(f"the image of disk {disk.index} is gone", instance, hint))
    return ready_image(view, image.name, instance)


def _what_stays(instance: Instance) -> str:
    others = len(instance.disks) - 1
    kept = ["its NICs with their addresses"] if instance.nics else []
    kept += [f"{others} other disk{'' if others == 1 else 's'}"] if others else []
    return f"{' and '.join(kept)} stay" if kept else "its UUID and name stay"
