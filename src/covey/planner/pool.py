"""Verbs of pools."""

from __future__ import annotations

from covey.base.errors import Refused, Unavailable, check
from covey.model.plan import Plan, Uses, delete, put
from covey.model.pool import CAPABILITIES, Place, Pool
from covey.model.requests.pool import AddPool, RemovePool
from covey.model.steps.pool import EnsurePool, EnsurePoolAbsent
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.everywhere import NODES, all_nodes, reached
from covey.planner.layers import owners
from covey.planner.registry import plans
from covey.planner.removed import keepers
from covey.planner.wording import named


@plans(AddPool)
def add(view: ClusterView, request: AddPool) -> Plan:
    """Make a pool on every node. Raises Refused for a name or a path that is taken."""
    view.check_initialised()
    check(
        not view.named("pool", request.name),
        Refused("the name is taken", f"pool {request.name}", "see: covey pool list"),
    )
    for other in view.all("pool", Pool):
        check(
            not request.path or not _overlap(request.path, other.place.path),
            Refused(
                f"{request.path} and {other.place.path} of {other} lie within each other",
                f"pool {request.name}",
                "choose another directory",
            ),
        )
    for debris in view.debris:
        check(
            not (request.path and isinstance(debris.step, EnsurePool) and _overlap(request.path, debris.step.place.path)),
            Refused(f"what job {debris.job} left there is still to be removed", request.path, "see: covey cluster verify"),
        )
    template = CAPABILITIES[request.template]
    pool_format = request.format or (template.formats[0] if template.formats else "")
    pool = Pool(draw_uuid(request, "pool"), request.name, Place(request.template, request.path), pool_format, request.now)
    return Plan(
        f"make pool {pool.name}" + (f" in {request.path}" if request.path else ""),
        tuple(EnsurePool(node=node.id, pool=pool.id, place=pool.place) for node in reached(view)),
        Uses((f"pool/{pool.id}", "pools/all"), (NODES,)),  # its name and path must be nobody else's, also of one being made
        success=(put(pool),),
    )


@plans(RemovePool)
def remove(view: ClusterView, request: RemovePool) -> Plan:
    """Give a pool up. Raises Refused while a disk lies in it, naming the instances."""
    pool = view.pool(request.pool)
    above, kept_above = owners(view, (layer for layer in view.layers if layer.pool == pool.id))
    users = above.union(i.name for i in view.instances if any(disk.pool == pool.id for disk in i.disks))
    check(
        not users,
        Refused(
            f"it holds disks or snapshots of {named(sorted(users))}",
            pool,
            "remove those disks first",
        ),
    )
    kept = [
        removed
        for removed in view.removed
        if removed in kept_above or any(disk.pool == pool.id for disk in removed.instance.disks)
    ]
    check(
        not kept,
        Refused(
            f"it holds disks of removed things that are kept for a while: {named(sorted(one.title for one in kept))}",
            pool,
            f"restore or purge them first: {keepers(kept)}",
        ),
    )
    left = sorted(stale.instance.name for stale in view.stale if any(disk.pool == pool.id for disk in stale.instance.disks))
    check(not left, Unavailable(f"what {named(left)} left there when moved is not cleared yet", pool, "try again in a moment"))
    return Plan(
        f"give up {pool}",
        tuple(EnsurePoolAbsent(node=node.id, pool=pool.id, place=pool.place) for node in all_nodes(view)),
        Uses((f"pool/{pool.id}",), (NODES,)),
        success=(delete(pool),),
        repair=f"covey pool remove {pool.name}",
    )


def _overlap(one: str, other: str) -> bool:
    return bool(other) and (f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"))
