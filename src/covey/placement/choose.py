"""Choosing a node for a new instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covey.base.errors import NoSpace, Refused, Unavailable, check, require
from covey.base.units import humane_size
from covey.model.node import Node
from covey.model.pool import Pool, floor_of
from covey.model.removed import Removed
from covey.model.view import ClusterView
from covey.placement.links import check_linked, why_not_on

HOST_RESERVE = 512 * 2**20  # bytes of memory that stay with the machine itself


@dataclass(frozen=True, slots=True)
class Room:
    """What is asked of a pool: `amount` bytes that will really be written at once."""

    pool: Pool
    amount: int


def hosting(view: ClusterView) -> list[Node]:
    """The nodes that may host."""
    return [node for node in view.all("node", Node) if node.is_hosting]


def memory_free(view: ClusterView, node: Node) -> int:
    """Bytes of memory on a node that no instance there may use; negative when too much was promised."""
    telemetry = view.telemetry.get(node.id)
    total = telemetry.memory if telemetry else 0
    return total - HOST_RESERVE - view.memory_used.get(node.id, 0)


def check_memory(view: ClusterView, node: Node, memory: int, object: object) -> None:
    """Raises NoSpace when `memory` bytes more do not fit."""
    free = memory_free(view, node)
    check(
        memory <= free,
        NoSpace(
            f"{humane_size(memory)} of memory asked, {humane_size(max(free, 0))} not yet promised on {node.name}",
            object,
            f"take less memory, or stop something there: covey instance list --filter node={node.name}",
        ),
    )


def check_room(view: ClusterView, node: Node, room: Room, object: object) -> None:
    """Raises NoSpace when a pool would be left with less than its floor, Unavailable when the pool's room is not known."""
    if not room.pool.capability.holds_volumes:
        return
    space = require(
        view.space(node.id, room.pool),
        Unavailable(f"its room on {node.name} is not known", room.pool, "is its directory there? covey cluster verify"),
    )
    floor = floor_of(space.size)
    check(
        space.free - room.amount >= floor,
        NoSpace(
            f"pool {room.pool.name} on {node.name} has {humane_size(max(space.free, 0))} free, {humane_size(room.amount)} is asked, "
            f"and {humane_size(floor)} must stay free",
            object,
            f"{purgeable(view, node, room.pool) or 'remove something'}, use another pool (covey pool list), "
            "or give the pool a larger disk",
        ),
    )


def purgeable(view: ClusterView, node: Node, pool: Pool) -> str:
    """What a person may purge to make room in a pool, the largest first; "" when nothing removed is kept there."""
    kept = [removed for removed in view.removed if _lies_in(removed, node, pool)]
    if not kept:
        return ""
    first = max(kept, key=lambda removed: (removed.used, removed.id))
    more = f" ({len(kept)} removed things are kept there, see: covey instance list --removed)" if len(kept) > 1 else ""
    return f"purge what was removed and takes {humane_size(first.used)}: {first.purge}{more}"


def _lies_in(removed: Removed, node: Node, pool: Pool) -> bool:
    return removed.instance.node == node.id and any(disk.pool == pool.id for disk in removed.instance.disks)


def choose_node(
    view: ClusterView,
    memory: int,
    rooms: tuple[Room, ...],
    object: object,
    wanted: str = "",
    networks: tuple[str, ...] = (),
    among: Sequence[Node] | None = None,
) -> tuple[Node, str]:
    """The node with most memory left among those with room and with the networks of these ids, or the one that is `wanted` by name; and the
    sentence why. With `among`, it is one of these. Raises NoSpace, Unavailable or Refused with the reason of the node that came closest;
    NotFound, and Refused when the wanted one does not host yet."""
    if wanted:
        node = view.node(wanted)
        check_linked(view, node, networks, object)
        return _wanted(view, node, memory, rooms, object), f"{wanted} was asked for"
    hosts = sorted(hosting(view) if among is None else among, key=lambda node: (-memory_free(view, node), node.name))
    left_out = {node.id: why for node in hosts if (why := _unlinked(view, node, networks))}
    nodes = [node for node in hosts if node.id not in left_out]
    for node in hosts if not nodes else ():
        check_linked(view, node, networks, object)
    aside = "".join(f"; not {node.name}: {left_out[node.id]}" for node in hosts if node.id in left_out)
    refusal: NoSpace | Unavailable | None = None
    for node in nodes:
        try:
            check_memory(view, node, memory, object)
            for room in rooms:
                check_room(view, node, room, object)
        except (NoSpace, Unavailable) as error:
            refusal = refusal or error
            continue
        telemetry = view.telemetry[node.id]
        left = f"{humane_size(memory_free(view, node))} of {humane_size(telemetry.memory)} memory not yet promised"
        return node, (f"{node.name} has {left}" if len(nodes) == 1 else f"{node.name} has most: {left}") + aside
    raise require(refusal, Unavailable("the cluster has no node", object))


def _unlinked(view: ClusterView, node: Node, networks: tuple[str, ...]) -> str:
    """Why a node cannot be linked to one of the networks with these ids, "" when it can to all."""
    found = (why_not_on(view, network, node) for id in networks if (network := view.find("network", id)))
    return next(filter(None, found), "")


def _wanted(view: ClusterView, node: Node, memory: int, rooms: tuple[Room, ...], object: object) -> Node:
    check(
        node.state == "ready",
        Refused(f"{node} is {node.state}, and hosts nothing new", object, f"wait until it is ready: covey node info {node.name}"),
    )
    why = f" ({node.drain_reason})" if node.drain_reason else ""
    check(
        not node.drained_at, Refused(f"{node} is drained{why}, and hosts nothing new", object, f"covey node undrain {node.name}")
    )
    check(node.id in view.telemetry, Unavailable(f"the agent of {node} does not answer", object, "see: covey status"))
    check_memory(view, node, memory, object)
    for room in rooms:
        check_room(view, node, room, object)
    return node
