"""What the ways to another node share: where an instance can go, what it is there, and what it leaves (P3, S17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from covey.base.errors import NoSpace, Refused, Unavailable, check
from covey.model.image import Image
from covey.model.instance import Disk, Instance, Observed
from covey.model.node import Node
from covey.model.plan import Claim, Uses, Write, change, put
from covey.model.request import Request
from covey.model.stale import Stale, stale_id
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeBrought, EnsureVolumeOffered
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_memory, choose_node, hosting
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import written_at_once
from covey.planner.instance.parts import check_platform, uses_of
from covey.planner.layers import layers_below


def home(view: ClusterView, instance: Instance) -> Node:
    """The instance's node, which answers: its disks are there. Raises Unavailable."""
    node = view.node_by_id(instance.node)
    check(
        node.id in view.telemetry,
        Unavailable(f"it waits for {node.name}, which does not answer: its disks are only there", instance, "see: covey status"),
    )
    return node


def destination(view: ClusterView, instance: Instance, to: str, memory: int) -> tuple[Node, str]:
    """The node where it goes, and the sentence why: the one that is named, or of all that can host it the one with most memory free.
    Raises NotFound, Refused, NoSpace, Unavailable with the reason of the node that came closest."""
    networks = tuple(dict.fromkeys(nic.network for nic in instance.nics))
    if to:
        check(view.node(to).id != instance.node, Refused(f"it is on {to} already", instance))
        check_can_host(view, view.node(to), instance)
        return choose_node(view, memory, rooms_for(view, instance), instance, to, networks)
    others = [node for node in hosting(view) if node.id != instance.node]
    check(others, Refused("there is no other node that hosts", instance, "see: covey node list"))
    able: list[Node] = []
    refusal: Refused | Unavailable | None = None
    for node in sorted(others, key=lambda node: node.name):
        try:
            check_can_host(view, node, instance)
            able.append(node)
        except (Refused, Unavailable) as error:
            refusal = refusal or error
    if refusal and not able:
        raise refusal
    return choose_node(view, memory, rooms_for(view, instance), instance, networks=networks, among=able)


def check_can_host(view: ClusterView, node: Node, instance: Instance) -> None:
    """Raises Refused for a firmware or CPU model that the node has not, and Unavailable while what an earlier move left there is there."""
    check_platform(view, node, instance)
    check(
        view.find_stale(instance.id, node.id) is None,
        Unavailable(f"what it left on {node.name} when it was moved is not cleared yet", instance, "try again in a moment"),
    )


def rooms_for(view: ClusterView, instance: Instance) -> tuple[Room, ...]:
    """What is asked of the pools there at the least. What thin disks hold only their node knows: the copying itself sees to it."""
    amounts: dict[str, int] = {}
    for disk in instance.disks:
        amounts[disk.pool] = amounts.get(disk.pool, 0) + written_at_once(disk.volume, None)
    return tuple(Room(view.pool_by_id(pool), amount) for pool, amount in amounts.items())


def claims_on(node: Node, rooms: Sequence[Room]) -> tuple[Claim, ...]:
    return tuple(Claim(node.id, room.pool.id, room.amount) for room in rooms if room.amount)


def moved(request: Request, instance: Instance, node: Node) -> Instance:
    """The record as it is there: with volumes of other ids, so that nobody takes what is left for what counts, and which the guest knows
    by the serial numbers that it has seen. Disks on layers stand alone there."""
    return replace(instance, node=node.id, disks=tuple(_there(request, disk) for disk in instance.disks))


def _there(request: Request, disk: Disk) -> Disk:
    volume = replace(disk.volume, id=draw_uuid(request, f"disk/{disk.index}"))
    image = "" if disk.base else disk.image
    return replace(disk, volume=volume, base="", image=image, serial=disk.serial or disk.volume.id)


def images_below(view: ClusterView, instance: Instance) -> list[Image]:
    """What must be on a node before the instance's disks are, and its ISO."""
    ids = dict.fromkeys((*(disk.image for disk in instance.disks if lies_on_image(disk)), instance.iso))
    found = (view.find("image", id) for id in ids if id)
    return [image for image in found if image]


def lies_on_image(disk: Disk) -> bool:
    """Whether the volume itself cannot be read without its image."""
    return bool(disk.image) and not disk.base and disk.volume.format == "qcow2"


def offering(instance: Instance, target: Node) -> tuple[Step, ...]:
    """The steps after which the target may fetch the instance's volumes."""
    return tuple(
        EnsureVolumeOffered(node=instance.node, volume=disk.volume, to=target.id, to_name=target.name) for disk in instance.disks
    )


def copying(before: Instance, after: Instance, origin: Node, target: Node) -> tuple[Step, ...]:
    """The steps after which each volume of a stopped instance, which were offered, is there, too."""
    return tuple(
        EnsureVolumeBrought(
            node=target.id,
            volume=new.volume,
            source=old.volume,
            image=new.image if lies_on_image(new) else "",
            origin=origin.id,
            origin_name=origin.name,
            address=origin.door_for(target),
        )
        for old, new in zip(before.disks, after.disks, strict=True)
    )


def leaving(before: Instance, after: Instance, observed: Observed, now: float) -> tuple[Write, ...]:
    """The writes by which it is there, in one transaction: its record, what is known of it, and what it left (S17)."""
    return (
        change(after, "node", "disks"),
        put(observed),
        put(Stale(stale_id(before.id, before.node), before, now)),
    )


def uses_of_move(view: ClusterView, before: Instance, target: Node) -> Uses:
    """Itself; and both nodes, its pools and networks, and the layers that it is read through must stay."""
    uses = uses_of(before)
    return Uses(uses.exclusive, tuple(sorted({*uses.shared, f"node/{target.id}", *layers_below(view, before)})))


def check_no_snapshots(view: ClusterView, instance: Instance) -> None:
    """Raises Refused: snapshots lie on their node, and so does what keeps them."""
    snapshots = [snapshot.name for snapshot in view.snapshots(instance)]
    check(
        not snapshots,
        Refused(
            f"it has {len(snapshots)} snapshot{'' if len(snapshots) == 1 else 's'}, which would not come along",
            instance,
            f"remove them first: covey snapshot remove {instance.name} {snapshots[0] if snapshots else ''}",
        ),
    )


def fits(view: ClusterView, node: Node, instance: Instance) -> bool:
    """Whether its memory is free there."""
    try:
        check_memory(view, node, instance.memory, instance)
    except NoSpace:
        return False
    return True
