"""What must hold once the faults have ceased and the dust has settled."""

from __future__ import annotations

import json
from collections.abc import Iterator

from covey.model import codec
from covey.model import record as records
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Disk, Instance
from covey.model.job import ENDED, EndedJob
from covey.model.network import Network
from covey.model.pool import Pool
from covey.model.snapshot import Snapshot
from covey.model.view import ClusterView
from covey.planner.filters import filters_of
from covey.planner.instance.parts import domain_nic
from tests.simulation.machines import Machine
from tests.simulation.world import World


def ended_jobs(world: World) -> dict[int, EndedJob]:
    entries = world.data.list(records.HISTORY, "", 0, False).entries
    return {ended.job.id: ended for ended in (records.ended_from_bytes(entry.value) for entry in entries)}


def recorded(world: World) -> ClusterView:
    """The records themselves, not what some process thinks they are."""
    listing = world.data.list(records.PREFIX, "", 0, False)
    return ClusterView.of(
        [(entry.key, records.from_bytes(entry.key, entry.value), entry.revision) for entry in listing.entries], listing.revision
    )


def broken_jobs(world: World) -> Iterator[str]:
    """Every job that was taken in has ended, and holds nothing."""
    view, ended = recorded(world), ended_jobs(world)
    for id, request in world.acknowledged.items():
        if id not in ended:
            yield f"job {id} ({request.title}) was taken in and is {'under way' if view.find('job', f'{id:010d}') else 'lost'}"
    for id, record in ended.items():
        if record.job.state not in ENDED:
            yield f"job {id} is over, but {record.job.state}"
        if record.job.state in ("failed", "needs_repair", "superseded") and not record.job.error:
            yield f"job {id} {record.job.state} without a cause"
        if record.job.error and "bug of Covey" in str(record.job.error.get("hint", "")):
            yield f"job {id} ({record.job.request.title}) met a bug: {record.job.error['what']}"
    if view.collections["job"] or view.collections["plan"]:
        yield f"still under way: {sorted(view.collections['job'])} {sorted(view.collections['plan'])}"
    yield from (f"{place} has {amount} bytes claimed by nobody" for place, amount in view.claimed.items() if amount)
    yield from (f"{debris} was never cleared: {debris.step.title}: {debris.why}" for debris in view.debris)


def differences(world: World) -> Iterator[str]:
    """Where a machine is not what the records say: new or old, never between."""
    view = recorded(world)
    for instance in view.instances:
        if instance.state not in ("ready", "removing", "purging"):
            yield f"{instance} is {instance.state}, and no job is at it"
    for image in view.all("image", Image):
        if image.state not in ("ready", "removing"):
            yield f"{image} is {image.state}, and no job is at it"
    yield from _shared(view)
    for machine in world.machines.values():
        for difference in (*_volumes(view, machine), *_domains(view, machine), *_filters(view, machine), *_others(view, machine)):
            yield f"{machine.name}: {difference}"


def _shared(view: ClusterView) -> Iterator[str]:
    """What two records have that only one may have."""
    for collection in ("instance", "image", "network", "firewall", "pool", "node"):
        names = [record.name for _, record in view.collections[collection].values()]
        yield from (f"two of {collection} are called {name}" for name in sorted(set(names)) if names.count(name) > 1)
    nics = [nic for instance in view.instances for nic in instance.nics]
    taken = [nic.mac for nic in nics] + [f"{nic.address} on network {nic.network}" for nic in nics if nic.address]
    yield from (f"two NICs have {thing}" for thing in sorted(set(taken)) if taken.count(thing) > 1)
    volumes = [disk.volume.id for _, disk in view.disks]
    yield from (f"two records own the volume {id}" for id in sorted(set(volumes)) if volumes.count(id) > 1)
    places = [pool.place.path for pool in view.all("pool", Pool) if pool.place.path]
    yield from (f"pools within each other: {one} {other}" for one in places for other in places if other.startswith(f"{one}/"))


def _volumes(view: ClusterView, machine: Machine) -> Iterator[str]:
    wanted = {
        f"volume:{disk.volume.place.path}:{disk.volume.id}.{disk.volume.format}": (instance, disk)
        for instance, disk in _disks(view)
        if instance.node == machine.node
    }
    found = dict(machine.shelf.items("volume:"))
    layers = {
        f"volume:{one.volume.place.path}:{one.id}.{one.volume.format}": one for one in view.layers if one.node == machine.node
    }
    for key, layer in layers.items():
        thing = found.pop(key, None)
        if thing is None:
            yield f"{layer} has no volume"
        elif thing["size"] > layer.volume.size or thing.get("base", "") != layer.base:  # QEMU grew it in its own description
            yield f"{layer} is {thing}, recorded is {layer}"
    bases = {disk.base for _, disk in view.disks} | {layer.base for layer in view.layers}
    bases |= {disk.layer for snapshot in view.all("snapshot", Snapshot) for disk in snapshot.disks}
    known = {layer.id for layer in view.layers} | {""}
    yield from (f"layer {id} is needed and has no record" for id in sorted(bases - known))
    yield from (f"layer {id} is needed by nobody" for id in sorted(known - bases - {""}))
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found:
            instance, disk = wanted[key]
            if instance.state == "ready":
                yield f"disk {disk.index} of {instance} has no volume"
        elif key not in wanted:
            yield f"{key} is nobody's; made by job {found[key]['job']}"
        elif found[key].get("base", "") != wanted[key][1].base:
            yield f"disk {wanted[key][1].index} of {wanted[key][0]} lies on {found[key].get('base')}, recorded is {wanted[key][1].base}"
        elif found[key]["size"] != wanted[key][1].size:
            yield f"disk {wanted[key][1].index} of {wanted[key][0]} has {found[key]['size']} bytes, recorded are {wanted[key][1].size}"


def _disks(view: ClusterView) -> Iterator[tuple[Instance, Disk]]:
    """Each with the instance that has it, or had it when it was removed."""
    for owner, disk in view.disks:
        yield (owner if isinstance(owner, Instance) else owner.instance), disk


def _domains(view: ClusterView, machine: Machine) -> Iterator[str]:
    found = {key.removeprefix("domain/"): thing for key, thing in machine.shelf.items("domain/")}
    for instance in view.instances:
        if instance.node == machine.node and instance.state != "ready":
            found.pop(instance.id, None)
        if instance.node != machine.node or instance.state != "ready":
            continue
        thing = found.pop(instance.id, None)
        if thing is None:
            yield f"{instance} has no domain"
            continue
        running = thing["state"] == "running"
        if running != (instance.desired == "running") and not view.observed(instance.id).gave_up:
            yield f"{instance} is {thing['state']} ({thing['reason']}), wanted is {instance.desired}"
        if running and thing["generation"] > instance.generation:
            yield f"{instance} runs as generation {thing['generation']}, recorded is {instance.generation}"
        described = [disk["volume"]["id"] for disk in thing["domain"]["disks"]]
        if described != [disk.volume.id for disk in instance.disks]:
            yield f"the domain of {instance} has the disks {described}"
        if running and [disk["volume"]["id"] for disk in thing["inside"]] != described:
            yield f"the guest of {instance} has other disks than its domain"
        if thing["domain"]["nics"] != [codec.encode(domain_nic(view, instance, nic)) for nic in instance.nics]:
            yield f"the domain of {instance} has the NICs {thing['domain']['nics']}"
        if running and thing["plugged"] != thing["domain"]["nics"]:
            yield f"the guest of {instance} has other NICs than its domain"
    yield from (f"domain {id} is nobody's; made by job {thing['job']}" for id, thing in found.items())
    known = {instance.id for instance in view.instances if instance.node == machine.node}
    yield from (f"{key} is nobody's" for key, _ in machine.shelf.items("seed/") if key.removeprefix("seed/") not in known)


def _filters(view: ClusterView, machine: Machine) -> Iterator[str]:
    """Each NIC is filtered as its record says, and nobody else's is."""
    found = {key.removeprefix("filter/"): thing for key, thing in machine.shelf.items("filter/")}
    for instance in view.instances:
        here = found.pop(instance.id, {"filters": []})
        is_here = instance.node == machine.node and instance.state == "ready"
        if instance.node != machine.node and here["filters"]:
            yield f"{instance} is filtered here, and is not here"
        if is_here and here["filters"] != [codec.encode(one) for one in filters_of(view, instance)]:
            yield f"{instance} is filtered so: {here['filters']}"
    wanted = {one.id: [codec.encode(rule) for rule in one.rules] for one in view.all("firewall", Firewall)}
    firewalls = {key.removeprefix("firewall/"): thing["rules"] for key, thing in machine.shelf.items("firewall/")}
    if wanted != firewalls:
        yield f"firewalls {json.dumps(firewalls)} are here, recorded are {json.dumps(wanted)}"
    yield from (f"the filters of {id} are nobody's; made by job {thing['job']}" for id, thing in found.items())


def _others(view: ClusterView, machine: Machine) -> Iterator[str]:
    networks = {network.id for network in view.all("network", Network) if network.on(machine.node)}
    bridges = {key.removeprefix("network/") for key, _ in machine.shelf.items("network/")}
    if networks != bridges:
        yield f"networks {json.dumps(sorted(bridges))} are here, recorded are {json.dumps(sorted(networks))}"
    pools = {pool.place.path for pool in view.all("pool", Pool) if pool.capability.holds_volumes}
    places = {key.removeprefix("pool:") for key, _ in machine.shelf.items("pool:")}
    if pools != places:
        yield f"pools {sorted(places)} are here, recorded are {sorted(pools)}"
    images = {image.id for image in view.all("image", Image)}
    files = {thing["id"] for _, thing in machine.shelf.items("file:")}
    if files - images:
        yield f"image files {sorted(files - images)} are nobody's"
    for image in view.all("image", Image):
        if machine.node == image.node and image.state == "ready" and image.id not in files:
            yield f"{image} has no file"
