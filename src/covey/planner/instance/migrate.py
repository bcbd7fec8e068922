"""instance migrate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from covey.base.errors import Refused, check
from covey.base.units import humane_size
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.plan import Plan, Write, change, delete, put
from covey.model.requests.instance import MigrateInstance
from covey.model.run import Run
from covey.model.stale import Stale, stale_id
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.migration import EnsureExpected, EnsureMigrated
from covey.model.steps.network import EnsureRouted, EnsureRouteFollows
from covey.model.view import ClusterView
from covey.planner.bringing import bringing
from covey.planner.instance.moving import (
    check_no_snapshots,
    claims_on,
    destination,
    home,
    images_below,
    lies_on_image,
    moved,
    rooms_for,
    uses_of_move,
)
from covey.planner.instance.parts import check_settled, domain_of, presence
from covey.planner.network.laying import forwards_to, no_routes, routed_one_by_one
from covey.planner.registry import plans


@plans(MigrateInstance)
def migrate(view: ClusterView, request: MigrateInstance) -> Plan:
    """Move a running guest. The move itself is the pivot: before it all can be taken back, after it only routes follow. Raises NoSpace,
    Unavailable, and Refused for what cannot move while it runs."""
    instance = view.instance(request.instance)
    check_settled(instance)
    _check_can_move(view, instance)
    source = home(view, instance)
    check(source.address, Refused(f"no other node can reach {source.name}", instance, "see: covey node list"))
    node, because = destination(view, instance, request.to, instance.memory)
    generation = max(instance.generation, view.observed(instance.id).generation) + 1
    after = replace(moved(request, instance, node), generation=generation)
    run = Run(instance.id, {source.id: instance.generation, node.id: generation})
    return Plan(
        f"move {instance} from {source.name} to {node.name} while it runs",
        (*_before(view, after, source), _move(view, request, instance, after, node), *_afterwards(view, instance, after)),
        uses_of_move(view, instance, node),
        claims_on(node, rooms_for(view, instance)),
        (because, *_reasons(instance)),
        tuple(_warnings(view, instance, node)),
        begin=(put(run),),
        pivoted=(
            change(after, "node", "generation", "disks"),
            *_seen(view, after),
            put(Stale(stale_id(instance.id, source.id), instance, request.now)),
            delete(run),
        ),
        undone=(delete(run),),
        repair="covey cluster verify",
    )


def _seen(view: ClusterView, after: Instance) -> tuple[Write, ...]:
    """The same run goes on as another start: a guest that was ready is."""
    seen = view.observed(after.id)
    was_ready = bool(seen.ready_generation) and seen.ready_generation == seen.generation
    ready = after.generation if was_ready else seen.ready_generation
    return (change(replace(seen, generation=after.generation, ready_generation=ready), "generation", "ready_generation"),)


def _check_can_move(view: ClusterView, instance: Instance) -> None:
    state = view.observed(instance.id).state
    check(
        state == "running",
        Refused(f"it is {state}, and only one that runs moves so", instance, "see: covey instance info " + instance.name),
    )
    check_no_snapshots(view, instance)


def _before(view: ClusterView, after: Instance, source: Node) -> tuple[Step, ...]:
    """All that the node must have before the guest comes: its packet rules, too, so that it never runs there without."""
    ready = tuple(step for step in presence(view, after, is_new=True) if not isinstance(step, EnsureRouted))  # see _afterwards
    expected = EnsureExpected(
        node=after.node, instance=after.id, source=source.id, source_name=source.name, generation=after.generation
    )
    volumes = (
        EnsureVolume(node=after.node, volume=disk.volume, image=disk.image if lies_on_image(disk) else "") for disk in after.disks
    )
    return (*bringing(view, after.node, images_below(view, after), source), *volumes, *ready, expected)


def _move(view: ClusterView, request: MigrateInstance, before: Instance, after: Instance, node: Node) -> Step:
    return EnsureMigrated(
        node=before.node,
        domain=domain_of(view, after),
        generation=after.generation,
        to=node.id,
        to_name=node.name,
        address=node.address,
        disks=tuple(disk.index for disk in after.disks),
        whole=any(disk.base for disk in before.disks),
        bandwidth=request.bandwidth // 8,
        downtime_s=request.downtime_s,
        slows_guest=request.slows_guest,
    )


def _afterwards(view: ClusterView, before: Instance, after: Instance) -> tuple[Step, ...]:
    """Packets are led to where it is. What is left where it was goes by itself (S17)."""
    follow = (
        EnsureRouteFollows(node=after.node, network=network, instance=after.id, addresses=addresses)
        for network, addresses in routed_one_by_one(view, after)
    )
    return (*no_routes(view, before), *follow)


def _reasons(instance: Instance) -> tuple[str, ...]:
    copied = sum(disk.size for disk in instance.disks)
    memory = f"its memory of {humane_size(instance.memory)}"
    disks = f" and {len(instance.disks)} disk{'' if len(instance.disks) == 1 else 's'} of {humane_size(copied)}" if copied else ""
    lying = (f"disk {disk.index} lies on what others share: it stands alone there" for disk in instance.disks if disk.base)
    return (f"{memory}{disks} go there encrypted, while the guest goes on", "it stands still for a moment at the end", *lying)


def _warnings(view: ClusterView, instance: Instance, node: Node) -> Iterator[str]:
    forwards = forwards_to(view, instance.id)
    if forwards:
        yield f"ports that lead to it are those of {node.name} then: {', '.join(one.name for one in forwards)}"
    if any(one.what == "disk" and one.instance.id == instance.id for one in view.removed):
        yield "removed disks of it stay where they are"
