"""instance move."""

from __future__ import annotations

from collections.abc import Iterator

from covey.base.errors import Refused, check
from covey.model.instance import Instance, Observed
from covey.model.node import Node
from covey.model.plan import Plan, nothing
from covey.model.requests.move import MoveInstance
from covey.model.view import ClusterView
from covey.planner.bringing import bringing
from covey.planner.instance.moving import (
    check_no_snapshots,
    claims_on,
    copying,
    destination,
    fits,
    home,
    images_below,
    leaving,
    moved,
    offering,
    rooms_for,
    uses_of_move,
)
from covey.planner.instance.parts import check_settled, presence
from covey.planner.network.laying import forwards_to
from covey.planner.registry import plans


@plans(MoveInstance)
def move(view: ClusterView, request: MoveInstance) -> Plan:
    """Give a stopped instance to another node, disks and all. Until it is there whole, it is where it was. Raises Refused while it runs and
    for what has snapshots, NoSpace, Unavailable."""
    instance = view.instance(request.instance)
    check_settled(instance)
    if request.to and view.node(request.to).id == instance.node:
        return nothing(f"{instance} is on {request.to} already")
    _check_stopped(view, instance)
    check_no_snapshots(view, instance)
    origin = home(view, instance)
    check(
        origin.address or not instance.disks, Refused(f"no other node can reach {origin.name}", instance, "see: covey node list")
    )
    target, because = destination(view, instance, request.to, memory=0)
    after = moved(request, instance, target)
    observed = Observed(instance.id, "stopped", request.now)
    return Plan(
        f"move {instance} from {origin.name} to {target.name}",
        (
            *offering(instance, target),
            *bringing(view, target.id, images_below(view, after), origin),
            *copying(instance, after, origin, target),
            *presence(view, after, is_new=True),
        ),
        uses_of_move(view, instance, target),
        claims_on(target, rooms_for(view, instance)),
        (because, *_reasons(instance)),
        tuple(_warnings(view, instance, target)),
        success=leaving(instance, after, observed, request.now),
    )


def _check_stopped(view: ClusterView, instance: Instance) -> None:
    runs = view.observed(instance.id).state in ("running", "paused")
    check(
        not runs and instance.desired == "stopped",
        Refused(
            "it runs" if runs else "it should run",
            instance,
            f"while it runs: covey instance migrate {instance.name}, or first: covey instance stop {instance.name}",
        ),
    )


def _reasons(instance: Instance) -> Iterator[str]:
    yield "it keeps its UUID, addresses and serial numbers"
    for disk in instance.disks:
        if disk.base:
            yield f"disk {disk.index} lies on what others share: it is copied whole, and stands alone there"


def _warnings(view: ClusterView, instance: Instance, target: Node) -> Iterator[str]:
    if not fits(view, target, instance):
        yield f"{target.name} has not the memory to start it now"
    if instance.firmware == "uefi":
        yield "what its UEFI remembers, such as boot entries, does not come along"
    forwards = forwards_to(view, instance.id)
    if forwards:
        yield f"ports that lead to it are those of {target.name} then: {', '.join(one.name for one in forwards)}"
    kept = [one for one in view.removed if one.what == "disk" and one.instance.id == instance.id]
    if kept:
        yield f"{len(kept)} removed disk{'' if len(kept) == 1 else 's'} of it stay where they are"
