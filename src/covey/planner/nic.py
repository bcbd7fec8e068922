"""Verbs of NICs."""

from __future__ import annotations

from dataclasses import fields, replace

from covey.base.errors import NotFound, Refused, check, require
from covey.model.instance import Instance, Nic
from covey.model.network import Network
from covey.model.plan import Plan, change, nothing
from covey.model.requests.instance import NicWish
from covey.model.requests.nic import MOST_NICS, AddNic, ModifyNic, RemoveNic
from covey.model.step import Step
from covey.model.steps.nic import EnsureNicAttached, EnsureNicDetached, EnsureNicSet
from covey.model.view import ClusterView
from covey.placement.links import check_linked
from covey.planner.address import choose_address
from covey.planner.filters import filtering, filters_of, nic_settings
from covey.planner.instance.add import new_nic
from covey.planner.instance.parts import check_settled, domain_nic, uses_of, uses_of_both
from covey.planner.network.laying import following
from covey.planner.registry import plans

DETACH_TIMEOUT_S = 30.0  # what a guest gets to let a NIC go


@plans(AddNic)
def add(view: ClusterView, request: AddNic) -> Plan:
    """Add a NIC, to the running guest too. Raises Refused for a MAC or address that is taken, NoSpace when the network is full."""
    instance = view.instance(request.instance)
    check_settled(instance)
    taken = {nic.index for nic in instance.nics} | _left_behind(view, instance)
    check(len(taken) < MOST_NICS, Refused(f"it has {MOST_NICS} NICs, which is the most", instance))
    index = next(number for number in range(MOST_NICS) if number not in taken)
    same = {field.name: getattr(request, field.name) for field in fields(NicWish)}
    nic = new_nic(view, request, index, NicWish(**same), (), str(instance))
    network: Network = require(view.find("network", nic.network), NotFound("it is gone", f"network {nic.network}"))
    check_linked(view, view.node_by_id(instance.node), (nic.network,), instance)
    after = _with(instance, nic)
    ways = following(view, instance, after)
    return Plan(
        f"add NIC {index} on {network} to {instance}",
        (
            *ways.first,
            *filtering(view, after, instance),
            EnsureNicAttached(node=instance.node, instance=instance.id, nic=domain_nic(view, instance, nic)),
        ),
        ways.uses(uses_of(after)),
        reasons=_told(instance, nic),
        begin=(change(after, "nics"),),  # so that nobody else is given the address meanwhile
        undone=(change(instance, "nics"),),
    )


@plans(ModifyNic)
def modify(view: ClusterView, request: ModifyNic) -> Plan:
    """Change a NIC, of the running guest too. Raises NotFound, Refused for an address that is taken, NoSpace."""
    instance = view.instance(request.instance)
    check_settled(instance)
    before = _nic(instance, request.nic)
    nic = _changed(view, request, instance, before)
    if nic == before:
        return nothing(f"NIC {nic.index} of {instance} is so already")
    if nic.network != before.network:
        check_linked(view, view.node_by_id(instance.node), (nic.network,), instance)
    after = _with(instance, nic)
    wanted, present = domain_nic(view, instance, nic), domain_nic(view, instance, before)
    steps: list[Step] = []
    if filters_of(view, after) != filters_of(view, instance):
        steps += filtering(view, after, instance)
    if wanted != present:
        steps.append(EnsureNicSet(node=instance.node, instance=instance.id, nic=wanted, before=present))
    ways = following(view, instance, after)
    return Plan(
        f"change NIC {nic.index} of {instance}",
        (*ways.first, *steps, *ways.last),
        ways.uses(uses_of_both(instance, after)),
        reasons=_told(instance, nic) if nic.addresses != before.addresses else (),
        begin=(change(after, "nics"),),
        undone=(change(instance, "nics"),),
    )


def _changed(view: ClusterView, request: ModifyNic, instance: Instance, nic: Nic) -> Nic:
    """On another network a NIC that had an address gets another one; an address that is its own already is not taken."""
    network: Network = (
        view.network(request.network)
        if request.network is not None
        else require(view.find("network", nic.network), NotFound("it has no record", f"network {nic.network}"))
    )
    moves = network.id != nic.network
    label = f"NIC {nic.index} of {instance}"

    def changed(version: int, asked: str | None, had: str) -> str:
        wish = asked if asked is not None else "auto" if moves and nic.addresses else None
        if wish is None or (not moves and wish in (had, "auto" if had else "")):
            return had
        return choose_address(view, network, version, wish, (), label)

    address, address6 = changed(4, request.address, nic.address), changed(6, request.address6, nic.address6)
    return replace(nic, network=network.id, address=address, address6=address6, **nic_settings(view, request))


@plans(RemoveNic)
def remove(view: ClusterView, request: RemoveNic) -> Plan:
    """Take a NIC out of the guest; its addresses are free again."""
    instance = view.instance(request.instance)
    check_settled(instance)
    nic = _nic(instance, request.nic)
    after = replace(instance, nics=tuple(other for other in instance.nics if other.index != nic.index))
    ways = following(view, instance, after)
    return Plan(
        f"remove NIC {nic.index} from {instance}",
        (
            *ways.first,
            EnsureNicDetached(node=instance.node, instance=instance.id, nic=nic.index, timeout_s=DETACH_TIMEOUT_S),
            *ways.last,
        ),
        ways.uses(uses_of(instance)),
        success=(change(after, "nics"),),
        repair=f"covey nic remove {instance.name} {nic.index}",
    )


def _told(instance: Instance, nic: Nic) -> tuple[str, ...]:
    """cloud-init sets up the NICs of a new instance only: what comes later its user sets up."""
    if not nic.addresses:
        return ()
    return (
        f"NIC {nic.index} gets {' and '.join(nic.addresses)}; set it up within {instance.name}: cloud-init does so only when it is made",
    )


def _with(instance: Instance, nic: Nic) -> Instance:
    others = (other for other in instance.nics if other.index != nic.index)
    return replace(instance, nics=tuple(sorted((*others, nic), key=lambda nic: nic.index)))


def _left_behind(view: ClusterView, instance: Instance) -> set[int]:
    """Indexes of NICs that an undo could not yet detach: whoever had the same index would be detached in their place."""
    steps = [debris.step for debris in view.debris]
    return {step.nic.index for step in steps if isinstance(step, EnsureNicAttached) and step.instance == instance.id}


def _nic(instance: Instance, index: int) -> Nic:
    for nic in instance.nics:
        if nic.index == index:
            return nic
    has = ", ".join(str(nic.index) for nic in instance.nics) or "none"
    raise NotFound(f"it has no NIC {index} (it has: {has})", instance, f"see: covey instance info {instance.name}")
