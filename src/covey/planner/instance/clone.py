"""instance clone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from covey.base.errors import Refused, check
from covey.model.instance import Disk, Instance, Nic
from covey.model.network import Network
from covey.model.plan import Claim, Plan, Uses, Write, change, delete, put
from covey.model.pool import Volume
from covey.model.requests.clone import CloneInstance
from covey.model.requests.instance import NicWish
from covey.model.step import Step
from covey.model.steps.disk import EnsureCopy
from covey.model.steps.instance import EnsureRunning
from covey.model.steps.snapshot import EnsureFrozen
from covey.model.view import ClusterView
from covey.placement.choose import Room, check_memory, check_room
from covey.planner.drawing import draw_uuid
from covey.planner.instance.add import new_nic
from covey.planner.instance.parts import check_settled, domain_of, presence, running_anew, started, uses_of
from covey.planner.layers import Tree, freeze, overlays
from covey.planner.registry import plans


@plans(CloneInstance)
def clone(view: ClusterView, request: CloneInstance) -> Plan:
    """Make an instance with the disks of another: laid on what both have in common, or copied whole. Raises Refused for a name that is
    taken and for what cannot be frozen, NoSpace."""
    source = view.instance(request.instance)
    check_settled(source)
    label = f"instance {request.name}"
    taken = Refused("the name is taken", label, f"see: covey instance info {request.name}")
    check(not view.named("instance", request.name), taken)
    point = _point(view, request, source)
    new = replace(
        _identity(view, request, source),
        disks=tuple(replace(disk, base="", image="") if request.full else disk for disk, _ in point.disks),
    )
    if request.start:
        check_memory(view, view.node_by_id(new.node), new.memory, label)
        new = started(view, new, "")
    made, claims = _copies(view, new, point) if request.full else overlays(view, new, point.disks)
    last = _start(new, point) if request.start else ()
    how = "a full copy of" if request.full else "a clone of"
    return Plan(
        f"make {label}, {how} {source}",
        (*point.steps, *made, *presence(view, new, is_new=True), *point.frozen, *last),
        _uses(source, new, point),
        (*point.claims, *claims),
        point.reasons,
        warnings=tuple(_left_as_it_is(source, new, request.identical)),
        begin=(put(new),),
        success=(change(replace(new, state="ready"), "state"), *point.writes),
        undone=(delete(new),),
        repair=f"covey instance remove {request.name}",
    )


@dataclass(frozen=True, slots=True)
class _Point:
    """The moment that is cloned: the clone's disks with the volumes that hold what they had then. `steps`, `claims`, `frozen` and
    `writes` freeze the source now; they are empty when it is frozen already, or at rest while it is copied."""

    disks: tuple[tuple[Disk, Volume], ...]
    layers: tuple[str, ...]
    holds_source: bool
    reasons: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    claims: tuple[Claim, ...] = ()
    frozen: tuple[Step, ...] = ()
    writes: tuple[Write, ...] = ()


def _point(view: ClusterView, request: CloneInstance, source: Instance) -> _Point:
    if request.snapshot:
        layers = Tree(view).layers
        kept = view.snapshot(source, request.snapshot).disks
        disks = tuple(
            (_disk(request, one.index, layers[one.layer].pool, layers[one.layer].volume, one.serial), layers[one.layer])
            for one in kept
        )
        linked = tuple((replace(disk, base=layer.id, image=layer.image), layer.volume) for disk, layer in disks)
        reason = f"its disks are those of the snapshot {request.snapshot}"
        return _Point(linked, tuple(one.layer for one in kept), False, (reason,))
    if request.full:
        check(
            view.observed(source.id).state not in ("running", "paused") and source.desired == "stopped",
            Refused(
                "it runs, and a full copy takes a while",
                source,
                f"copy a snapshot, which can be removed after: covey snapshot add {source.name} NAME, then --snapshot NAME",
            ),
        )
        whole = ((_disk(request, disk.index, disk.pool, disk.volume, _serial(disk)), disk.volume) for disk in source.disks)
        return _Point(tuple(whole), (), True, (f"{source} stays stopped until it is copied",))
    frozen = freeze(view, request, source)
    common = (
        (
            replace(_disk(request, disk.index, disk.pool, disk.volume, _serial(disk)), base=layer.id, image=layer.image),
            layer.volume,
        )
        for disk, layer in zip(source.disks, frozen.layers, strict=True)
    )
    return _Point(
        tuple(common),
        (),
        True,
        (f"both lie on what {source.name} has at that moment; that stays for as long as one of them needs it",),
        frozen.steps,
        frozen.claims,
        (EnsureFrozen(node=source.node, domain=domain_of(view, frozen.after)),),
        (change(frozen.after, "disks"), *frozen.writes),
    )


def _serial(disk: Disk) -> str:
    return disk.serial or disk.volume.id


def _disk(request: CloneInstance, index: int, pool: str, like: Volume, serial: str) -> Disk:
    """A disk on nothing. One that stays identical inside is known to its guest by the same serial number."""
    volume = replace(like, id=draw_uuid(request, f"disk/{index}"))
    return Disk(index, pool, volume, serial=serial if request.identical else "")


def _identity(view: ClusterView, request: CloneInstance, source: Instance) -> Instance:
    """The clone without its disks. It has NICs of its own on the same networks; those of an identical one are unplugged."""
    nics: list[Nic] = []
    for nic in source.nics:
        network: Network | None = view.find("network", nic.network)
        wish = NicWish(
            network=network.name if network else nic.network,
            address="auto" if nic.address and not request.identical else "none",
            address6="auto" if nic.address6 and not request.identical else "none",
        )
        mine = new_nic(view, request, nic.index, wish, nics, f"instance {request.name}")
        up = nic.up and not request.identical
        nics.append(replace(nic, mac=mine.mac, address=mine.address, address6=mine.address6, up=up, also=()))
    return replace(
        source,
        id=draw_uuid(request, "instance"),
        name=request.name,
        state="adding",
        desired="stopped",
        desired_by="",
        created_at=request.now,
        generation=0,
        nics=tuple(nics),
        secret="",
        seeded=source.seeded or not request.identical,
        identity=(source.identity or source.id) if request.identical else "",
        sealed=not request.identical,
        protected=False,
    )


def _copies(view: ClusterView, new: Instance, point: _Point) -> tuple[tuple[Step, ...], tuple[Claim, ...]]:
    """Whole copies, and the most room that they can take: how much of it is holes only the storage knows. Raises NoSpace."""
    amounts: dict[str, int] = {}
    for disk, _ in point.disks:
        amounts[disk.pool] = amounts.get(disk.pool, 0) + disk.size
    for pool, amount in amounts.items():
        check_room(view, view.node_by_id(new.node), Room(view.pool_by_id(pool), amount), new)
    steps = tuple(EnsureCopy(node=new.node, volume=disk.volume, source=held) for disk, held in point.disks)
    return steps, tuple(Claim(new.node, pool, amount) for pool, amount in amounts.items())


def _start(new: Instance, point: _Point) -> tuple[Step, ...]:
    """After the source was frozen there is no way back."""
    if point.frozen:
        return running_anew(new)
    return (EnsureRunning(node=new.node, instance=new.id, generation=new.generation),)


def _uses(source: Instance, new: Instance, point: _Point) -> Uses:
    """A source that is frozen or copied now must be nobody else's meanwhile; a snapshot's layers must merely stay."""
    uses = uses_of(new)
    mine = (*uses.exclusive, f"instance/{source.id}") if point.holds_source else uses.exclusive
    return Uses(mine, (*uses.shared, *sorted(f"layer/{id}" for id in point.layers)))


def _left_as_it_is(source: Instance, new: Instance, identical: bool) -> Iterator[str]:
    """What a clone has in common with its source inside, said before it is made."""
    if identical:
        yield f"inside it is what {source.name} is, its host name and keys too"
        if new.nics:
            yield f"its NICs are unplugged and have no addresses: covey nic modify {new.name} {new.nics[0].index} --link up"
        return
    yield (
        "by cloud-init the guest gets a host name, SSH host keys and a machine id of its own at its first boot; "
        f"without cloud-init it stays inside what {source.name} is"
    )
