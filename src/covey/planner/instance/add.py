"""instance add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from covey.base.errors import BadInput, NotFound, Refused, check, require
from covey.base.units import humane_size
from covey.model.image import Image
from covey.model.instance import Disk, Instance, Nic
from covey.model.names import check_uuid
from covey.model.network import Network
from covey.model.plan import Claim, Plan, change, delete, put
from covey.model.pool import Pool, Volume
from covey.model.request import Request
from covey.model.requests.instance import AddInstance, DiskWish, NicWish
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolume
from covey.model.steps.instance import EnsureRunning
from covey.model.view import ClusterView
from covey.placement.choose import Room, choose_node
from covey.planner.address import choose_address
from covey.planner.bringing import bringing
from covey.planner.drawing import draw_mac, draw_uuid
from covey.planner.filters import nic_settings, resolve_firewalls
from covey.planner.instance.parts import (
    apart_warnings,
    await_ready,
    check_maximum,
    check_platform,
    cpu_warnings,
    forget_secret,
    presence,
    ready_image,
    ready_iso,
    started,
    uses_of,
)
from covey.planner.registry import plans


@plans(AddInstance)
def add(view: ClusterView, request: AddInstance) -> Plan:
    """Make an instance. Raises Refused for a name, UUID, MAC or address that is taken, NotFound for what it names in vain,
    NoSpace when no node has room."""
    view.check_initialised()
    label = f"instance {request.name}"
    check(
        not view.named("instance", request.name),
        Refused("the name is taken", label, f"see: covey instance info {request.name}"),
    )
    defaults = view.cluster.defaults
    image = ready_image(view, request.image, label) if request.image else None
    iso = ready_iso(view, request.iso, label) if request.iso else None
    disks = _resolve_disks(view, request, image, label)
    nics = _resolve_nics(view, request, label)
    memory = request.memory or defaults.memory
    rooms = tuple(Room(disk.pool, written_at_once(disk.volume, disk.image)) for disk in disks)
    node, because = choose_node(
        view,
        memory if request.start else 0,
        _summed(rooms),
        label,
        request.node,
        tuple(dict.fromkeys(nic.network for nic in nics)),
    )

    instance = Instance(
        _free_uuid(view, request, label),
        request.name,
        node.id,
        request.cpus or defaults.cpus,
        memory,
        request.machine or defaults.machine,
        "adding",
        "running" if request.start else "stopped",
        request.now,
        generation=0,
        disks=tuple(
            Disk(index, disk.pool.id, disk.volume, disk.image.id if disk.image else "") for index, disk in enumerate(disks)
        ),
        nics=nics,
        iso=iso.id if iso else "",
        ssh_keys=tuple(key.strip() for key in request.ssh_keys),
        secret=request.secret,
        seeded=bool(image or request.secret or request.ssh_keys),
        tags=tuple(sorted(set(request.tags))),
        firewalls=resolve_firewalls(view, request.firewalls),
        notes=request.notes,
        owner=request.owner,
        protected=request.protected,
        max_cpus=request.max_cpus,
        max_memory=request.max_memory,
        firmware=request.firmware,
        cpu_model=request.cpu_model,
        boot=request.boot,
        raw_xml=request.raw_xml,
    )
    check_maximum(instance)
    check_platform(view, node, instance)
    if request.start:
        instance = started(view, instance, "")
    steps: list[Step] = [*bringing(view, node.id, (iso, *(disk.image for disk in disks)))]
    steps += [EnsureVolume(node=node.id, volume=disk.volume, image=disk.image.id if disk.image else "") for disk in disks]
    steps += presence(view, instance, is_new=True)
    if request.start:
        steps.append(EnsureRunning(node=node.id, instance=instance.id, generation=instance.generation))
    return Plan(
        f"make instance {request.name} on {node.name}" + ("" if request.start else ", not started"),
        tuple(steps),
        uses_of(instance),
        tuple(Claim(node.id, room.pool.id, room.amount) for room in rooms if room.amount),
        (because, *_reasons(view, instance, disks)),
        warnings=(*cpu_warnings(view, instance), *_warnings(view, node.id, disks), *apart_warnings(view, instance)),
        begin=(put(instance),),
        success=(change(replace(instance, state="ready"), "state"),),
        undone=(delete(instance), *forget_secret(instance)),
        awaits=await_ready(view, instance, request.ready_timeout_s) if request.wait_ready else None,
    )


@dataclass(frozen=True, slots=True)
class _Disk:
    pool: Pool
    volume: Volume
    image: Image | None


def written_at_once(volume: Volume, image: Image | None) -> int:
    """Bytes that making a volume takes from its pool. Raw volumes are allocated whole; qcow2 grows as the guest writes and begins
    with its tables (8 bytes for each 64 KiB cluster: qcow2's specification)."""
    if volume.format == "raw":
        return volume.size
    return 2**20 + volume.size // 8192


def _summed(rooms: tuple[Room, ...]) -> tuple[Room, ...]:
    """One wish a pool, so that two disks do not each fit alone into one gap."""
    amounts: dict[str, Room] = {}
    for room in rooms:
        before = amounts.get(room.pool.id)
        amounts[room.pool.id] = Room(room.pool, room.amount + (before.amount if before else 0))
    return tuple(amounts.values())


def _free_uuid(view: ClusterView, request: AddInstance, label: str) -> str:
    if not request.uuid:
        return draw_uuid(request, "instance")
    id = check_uuid(request.uuid, "uuid")  # in its one spelling, whichever it was given in
    check(not view.find("instance", id), Refused(f"the UUID {id} is taken", label))
    kept = view.find("removed", id)
    check(kept is None, Refused(f"the UUID {id} is that of {kept}", label, f"purge that first: {kept.purge if kept else ''}"))
    check(
        all(stale.instance.id != id for stale in view.stale),
        Refused(
            f"what {id} left on a node when it was moved is still there",
            label,
            "try again in a moment; see: covey cluster verify",
        ),
    )
    left = next((debris for debris in view.debris if debris.step.object == f"instance/{id}"), None)
    check(
        left is None,
        Refused(f"what job {left.job if left else 0} left of {id} is still to be removed", label, "see: covey cluster verify"),
    )
    return id


def choose_pool(view: ClusterView, name: str, label: str) -> Pool:
    """The named pool, or "default", or the only one. Raises NotFound."""
    if name:
        return view.pool(name)
    pools = list(view.all("pool", Pool))
    default: Pool | None = view.named("pool", "default") or (pools[0] if len(pools) == 1 else None)
    return require(
        default,
        NotFound("there is no pool called default, and several others", label, "name one: --disk 20G,pool=NAME"),
    )


def _resolve_disks(view: ClusterView, request: AddInstance, image: Image | None, label: str) -> list[_Disk]:
    wishes = request.disks if request.disks is not None else ((DiskWish(),) if image else ())
    disks = []
    for index, wish in enumerate(wishes):
        pool = choose_pool(view, wish.pool, label)
        source = image if index == 0 else None
        size = wish.size or (source.size if source else 0)
        check(
            not source or size >= source.size,
            BadInput(
                f"disk 0 of {humane_size(size)} is smaller than {source} of {humane_size(source.size if source else 0)}",
                label,
                "ask for at least the image's size",
            ),
        )
        disks.append(_Disk(pool, new_volume(pool, size, wish.format, draw_uuid(request, f"disk/{index}"), label), source))
    return disks


def new_volume(pool: Pool, size: int, wanted_format: str, id: str, label: str) -> Volume:
    """Raises Refused when the pool cannot hold such a volume."""
    capability = pool.capability
    check(
        capability.holds_volumes,
        Refused(f"{pool} is {pool.place.template} and holds no volumes", label, "use another pool: covey pool list"),
    )
    volume_format = wanted_format or pool.format
    check(volume_format in capability.formats, Refused(f"{pool} cannot hold {volume_format} volumes", label))
    return Volume(id, pool.place, volume_format, (size + 511) // 512 * 512)


def _resolve_nics(view: ClusterView, request: AddInstance, label: str) -> tuple[Nic, ...]:
    wishes = request.nics
    if wishes is None:
        networks = list(view.all("network", Network))
        usual = view.named("network", "default") or (networks[0] if len(networks) == 1 else None)
        check(
            usual or not networks,
            NotFound("there are several networks and none is called default", label, "name one: --network NAME"),
        )
        wishes = (NicWish(network=usual.name),) if usual else ()
    nics: list[Nic] = []
    for index, wish in enumerate(wishes):
        nics.append(new_nic(view, request, index, wish, nics, label))
    return tuple(nics)


def new_nic(view: ClusterView, request: Request, index: int, wish: NicWish, others: Sequence[Nic], label: str) -> Nic:
    """The NIC as wished for, beside `others` that the view does not know yet. Raises NotFound, Refused for a MAC or address that is
    taken, NoSpace."""
    network = _usual_network(view, wish, label)
    macs = {nic.mac for nic in others}
    mac = wish.mac.lower().replace("-", ":") or draw_mac(view, request, f"nic/{index}", macs)
    check(mac not in view.macs and mac not in macs, Refused(f"the MAC address {mac} is taken", label))
    taken = {address for nic in others if nic.network == network.id for address in nic.addresses}
    address = choose_address(view, network, 4, wish.address, taken, label)
    plain = Nic(index, network.id, mac, address, address6=choose_address(view, network, 6, wish.address6, taken, label))
    return replace(plain, **nic_settings(view, wish))


def _usual_network(view: ClusterView, wish: NicWish, label: str) -> Network:
    if wish.network:
        return view.network(wish.network)
    networks = list(view.all("network", Network))
    usual: Network | None = view.named("network", "default") or (networks[0] if len(networks) == 1 else None)
    return require(
        usual,
        NotFound(
            "no network is called default",
            label,
            "name one, or make one: covey network add default --subnet 10.77.0.0/24",
        ),
    )


def _reasons(view: ClusterView, instance: Instance, disks: list[_Disk]) -> list[str]:
    reasons = []
    for index, disk in enumerate(disks):
        if disk.image:
            cow = disk.volume.format in disk.pool.capability.cow_formats
            how = "a copy-on-write clone" if cow else "a full copy, as raw volumes are"
            reasons.append(f"disk {index} is {how} of {disk.image}")
    reasons += [f"NIC {nic.index} gets {' and '.join(nic.addresses)}" for nic in instance.nics if nic.addresses]
    return reasons


def _warnings(view: ClusterView, node: str, disks: list[_Disk]) -> tuple[str, ...]:
    """What thin volumes may grow to is not kept free: say so once it no longer fits."""
    warnings = []
    for pool in {disk.pool.id: disk.pool for disk in disks}.values():
        space = view.space(node, pool)
        promised = sum(disk.volume.size for disk in disks if disk.pool.id == pool.id and disk.volume.format != "raw")
        if space and promised > space.free:
            warnings.append(
                f"its disks may grow to {humane_size(promised)}, pool {pool.name} has {humane_size(space.free)} free: a guest whose pool is full is paused"
            )
    return tuple(warnings)
