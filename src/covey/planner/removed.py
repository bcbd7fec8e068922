"""What was removed: kept for a while, then gone for good."""

from __future__ import annotations

from collections.abc import Iterable

from covey.base.errors import NotFound, require
from covey.base.units import humane_size
from covey.model.plan import Plan, Uses, delete
from covey.model.removed import Removed
from covey.model.requests.repair import PurgeRemoved
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.instance import EnsureInstanceAbsent
from covey.model.view import ClusterView
from covey.planner.instance.parts import forget_secret, uses_of
from covey.planner.layers import layers_below, let_go
from covey.planner.registry import plans
from covey.planner.wording import named


@plans(PurgeRemoved)
def purge_kept(view: ClusterView, request: PurgeRemoved) -> Plan:
    removed: Removed | None = view.find("removed", request.removed)
    return purge(view, require(removed, NotFound("nothing of that id is kept", f"removed {request.removed}")))


def purge(view: ClusterView, removed: Removed) -> Plan:
    """Remove for good what was kept. An instance's user-data goes with it."""
    instance = removed.instance
    whole = removed.what == "instance"
    gone, forgotten = let_go(view, instance.disks, instance if whole else None)
    remembers = whole and instance.firmware == "uefi"
    memory = (EnsureInstanceAbsent(node=instance.node, instance=instance.id),) if remembers else ()
    return Plan(
        f"purge {removed}: {humane_size(removed.used)} on {view.node_by_id(instance.node).name}",
        (*(EnsureVolumeAbsent(node=instance.node, volume=disk.volume) for disk in instance.disks), *gone, *memory),
        alone_with(Uses(layers_below(view, instance), uses_of(instance).shared), removed),
        warnings=("what is on its disks is lost",) if instance.disks else (),
        success=(delete(removed), *forgotten, *(forget_secret(instance) if whole else ())),
        repair=removed.purge,
    )


def alone_with(uses: Uses, removed: Removed) -> Uses:
    """The uses, with what was removed and its volumes to itself."""
    volumes = (f"volume/{disk.volume.id}" for disk in removed.instance.disks)
    return Uses(tuple(dict.fromkeys((*uses.exclusive, f"removed/{removed.id}", *volumes))), uses.shared)


def keepers(removed: Iterable[Removed]) -> str:
    """What a person does about kept things that are in the way: the commands that purge them."""
    return named(sorted(dict.fromkeys(one.purge for one in removed)))
