"""instance remove and restore."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import CoveyError, NotFound, Refused, check, require
from covey.base.units import humane_duration
from covey.model.instance import Instance, Nic
from covey.model.network import Forward, Network
from covey.model.plan import Plan, Write, change, delete, put
from covey.model.removed import Removed
from covey.model.requests.instance import RemoveInstance, RestoreInstance
from covey.model.step import ResultOf, Step
from covey.model.steps.disk import EnsureVolumeAbsent, EnsureVolumesFound
from covey.model.steps.instance import EnsureInstanceAbsent, EnsureRunning, EnsureStopped
from covey.model.view import ClusterView
from covey.placement.choose import check_memory
from covey.planner.address import choose_address
from covey.planner.drawing import draw_mac
from covey.planner.instance.parts import check_unprotected, forget_secret, presence, started, uses_of
from covey.planner.layers import let_go, uses_with_layers
from covey.planner.network.laying import Following, arrival, withdrawal
from covey.planner.registry import plans
from covey.planner.removed import alone_with, purge

GOING_FOR_GOOD = ("adding", "purging")  # states of which nothing whole would be left to keep


@plans(RemoveInstance)
def remove(view: ClusterView, request: RemoveInstance) -> Plan:
    """Cut it and hide it: its name and addresses are free, its disks stay for a while. With `purge` all of it goes, also when it was
    removed before. What a killed removal left is finished by the next."""
    kept = view.find_removed("instance", request.instance) if request.purge else None
    if kept and not view.named("instance", request.instance):
        return purge(view, kept)
    instance = view.instance(request.instance)
    check_unprotected(instance)
    maker = view.job_at_work_on(f"instance/{instance.id}") if instance.state in ("adding", "restoring") else 0
    check(not maker, Refused("it is being made", instance, f"cancel that: covey job cancel {maker}"))
    keep_s = view.cluster.defaults.keep_removed_s
    if request.purge or not keep_s or instance.state in GOING_FOR_GOOD:
        return _for_good(view, instance)
    return _for_a_while(view, request, instance, keep_s)


def _for_good(view: ClusterView, instance: Instance) -> Plan:
    count = len(instance.disks)
    leaving = withdrawal(view, instance)
    gone, forgotten = let_go(view, instance.disks, instance)
    return Plan(
        f"remove {instance}{_with_disks(count)}",
        (
            *leaving.first,
            EnsureStopped(node=instance.node, instance=instance.id, generation=instance.generation),
            EnsureInstanceAbsent(node=instance.node, instance=instance.id),
            *leaving.last,
            *(EnsureVolumeAbsent(node=instance.node, volume=disk.volume) for disk in instance.disks),
            *gone,
        ),
        leaving.uses(uses_with_layers(view, instance)),
        warnings=("what is on its disks is lost",) if count else (),
        begin=(put(replace(instance, state="purging", desired="stopped", desired_by="")),),
        success=(*_gone(view, instance, leaving), *forgotten, *forget_secret(instance)),
        undone=(put(instance),),
        repair=f"covey instance remove {instance.name} --purge",
    )


def _for_a_while(view: ClusterView, request: RemoveInstance, instance: Instance, keep_s: float) -> Plan:
    volumes = tuple(disk.volume for disk in instance.disks)
    leaving = withdrawal(view, instance)
    removed = Removed(
        instance.id,
        "instance",
        replace(instance, state="ready", desired="stopped", desired_by=""),
        request.now,
        request.now + keep_s,
        request.by,
        request.reason,
        forwards=leaving.forwards,
    )
    return Plan(
        f"remove {instance}{_kept(len(volumes))} for {humane_duration(keep_s)}",
        (
            EnsureVolumesFound(node=instance.node, instance=instance.id, volumes=volumes, needed=False),
            *leaving.first,
            EnsureStopped(node=instance.node, instance=instance.id, generation=instance.generation),
            EnsureInstanceAbsent(node=instance.node, instance=instance.id, keep_variables=True),
            *leaving.last,
        ),
        alone_with(leaving.uses(uses_of(instance)), removed),
        reasons=(
            f"it can be had back until then: covey instance restore {instance.name}",
            *(f"{forward} goes, and comes back with it if the port is free then" for forward in leaving.forwards),
        ),
        begin=(put(replace(instance, state="removing", desired="stopped", desired_by="")),),
        success=(*_gone(view, instance, leaving), put(removed, used=ResultOf(0, "used"))),
        undone=(put(instance),),
        repair=f"covey instance remove {instance.name}",
    )


def _with_disks(count: int) -> str:
    return f" with {_disks(count)}" if count else ", which has no disks"


def _kept(count: int) -> str:
    return f"; {_disks(count)} kept" if count else ", which has no disks; it can be had back"


def _disks(count: int) -> str:
    return f"{count} disk{'' if count == 1 else 's'}"


def _gone(view: ClusterView, instance: Instance, leaving: Following) -> tuple[Write, ...]:
    """What was observed of it may be heard of only now."""
    return delete(instance), delete(view.observed(instance.id)), *(delete(forward) for forward in leaving.forwards)


@plans(RestoreInstance)
def restore(view: ClusterView, request: RestoreInstance) -> Plan:
    """Bring it back with its disks: with its MACs and addresses where they are still free, else with new ones. Raises NotFound, Refused
    when its name was taken meanwhile, NoSpace."""
    kept = require(
        view.find_removed("instance", request.instance),
        NotFound("no removed instance has that name", f"instance {request.instance}", "see: covey instance list --removed"),
    )
    name = request.name or kept.instance.name
    check(
        not view.named("instance", name),
        Refused("the name was taken meanwhile", f"instance {name}", "add --name with another one"),
    )
    nics, reasons = _nics_again(view, request, kept, name)
    instance = replace(kept.instance, name=name, nics=nics, state="restoring")
    forwards, of_forwards = _forwards_again(view, kept, instance)
    arriving = arrival(view, instance, forwards)
    reasons += of_forwards
    steps: list[Step] = [
        EnsureVolumesFound(
            node=instance.node, instance=instance.id, volumes=tuple(disk.volume for disk in instance.disks), needed=True
        )
    ]
    if request.start:
        check_memory(view, view.node_by_id(instance.node), instance.memory, instance)
        instance = started(view, instance, "")
    steps += (*presence(view, instance, is_new=True), *arriving.first)
    if request.start:
        steps.append(EnsureRunning(node=instance.node, instance=instance.id, generation=instance.generation))
    else:
        reasons = (*reasons, f"it is not started: covey instance start {name}")
    return Plan(
        f"restore {instance}" + ("" if name == kept.instance.name else f", which was {kept.instance.name}"),
        tuple(steps),
        alone_with(arriving.uses(uses_of(instance)), kept),
        reasons=reasons,
        begin=(put(instance), delete(kept)),
        success=(change(replace(instance, state="ready"), "state"), *(put(forward) for forward in forwards)),
        undone=(delete(instance), put(kept)),
    )


def _nics_again(view: ClusterView, request: RestoreInstance, kept: Removed, name: str) -> tuple[tuple[Nic, ...], tuple[str, ...]]:
    """Its NICs on the networks that there still are, and a sentence on each."""
    nics: list[Nic] = []
    reasons: list[str] = []
    for nic in kept.instance.nics:
        network: Network | None = view.find("network", nic.network)
        if network is None:
            reasons.append(f"NIC {nic.index} is left out: its network is gone")
            continue
        macs = {other.mac for other in nics}
        mac_taken = nic.mac in view.macs or nic.mac in macs
        mac = draw_mac(view, request, f"nic/{nic.index}", macs) if mac_taken else nic.mac
        taken = {address for other in nics if other.network == network.id for address in other.addresses}
        address = _address_again(view, network, 4, nic.address, taken, f"instance {name}")
        address6 = _address_again(view, network, 6, nic.address6, taken, f"instance {name}")
        nics.append(replace(nic, mac=mac, address=address, address6=address6))
        pairs = ((mac, nic.mac), (address, nic.address), (address6, nic.address6))
        changed = [f"{new}, as {old} is taken" if new else f"no {old} any more" for new, old in pairs if new != old]
        same = ", ".join(nics[-1].addresses) or mac
        reasons.append(f"NIC {nic.index} gets {'; '.join(changed)}" if changed else f"NIC {nic.index} has {same} again")
    return tuple(nics), tuple(reasons)


def _forwards_again(view: ClusterView, kept: Removed, instance: Instance) -> tuple[tuple[Forward, ...], tuple[str, ...]]:
    """Its forwards, as far as they can lead to it again, and a sentence on each."""
    forwards: list[Forward] = []
    reasons: list[str] = []
    for forward in kept.forwards:
        network: Network | None = view.find("network", forward.network)
        reached = any(nic.network == forward.network and nic.addresses for nic in instance.nics)
        if view.named("forward", forward.name):
            reasons.append(f"{forward} stays away: the port leads elsewhere by now")
        elif not (reached and network and network.type == "nat"):
            reasons.append(f"{forward} stays away: it is not on that network any more, or that has no NAT")
        else:
            forwards.append(forward)
            reasons.append(f"{forward} leads to it again")
    return tuple(forwards), tuple(reasons)


def _address_again(view: ClusterView, network: Network, version: int, address: str, taken: set[str], label: str) -> str:
    """The former address, else another one of the network's; "" where it had none, or the network lacks the family. Raises NoSpace."""
    if not address:
        return ""
    try:
        return choose_address(view, network, version, address, taken, label)
    except CoveyError:
        return choose_address(view, network, version, "auto", taken, label)
