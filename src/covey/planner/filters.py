"""What NICs may send and receive, as it follows from the records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from covey.base.errors import Refused, require
from covey.model.filter import OF_FIREWALL, Filter, Rule
from covey.model.firewall import Firewall
from covey.model.instance import Instance, Nic
from covey.model.network import Network
from covey.model.requests.instance import NicWish
from covey.model.requests.nic import AddNic, ModifyNic
from covey.model.step import Step
from covey.model.steps.nic import EnsureFiltered
from covey.model.view import ClusterView

_PLAIN = ("up", "guarded", "also", "limit_in", "limit_out")  # what a request says and a record keeps alike


def filters_of(view: ClusterView, instance: Instance) -> tuple[Filter, ...]:
    return tuple(_filter_of(view, instance, nic) for nic in instance.nics)


def _filter_of(view: ClusterView, instance: Instance, nic: Nic) -> Filter:
    network: Network = require(
        view.find("network", nic.network),
        Refused("an instance is on it, but it has no record", f"network {nic.network}", "see: covey cluster verify"),
    )
    return Filter(
        nic.index,
        nic.mac,
        (*nic.addresses, *nic.also),
        tuple(family.gateway for family in network.families if family.gateway),
        nic.guarded,
        nic.limit_in,
        nic.limit_out,
        tuple(dict.fromkeys((*instance.firewalls, *nic.firewalls))),
        nic.rules,
    )


def resolve_rules(view: ClusterView, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules with the firewalls that they name by id. Raises NotFound."""
    return tuple(replace(rule, peer=_resolve(view, rule.peer)) for rule in rules)


def _resolve(view: ClusterView, peer: str) -> str:
    return f"{OF_FIREWALL}{view.firewall(peer.removeprefix(OF_FIREWALL)).id}" if peer.startswith(OF_FIREWALL) else peer


def nic_settings(view: ClusterView, request: NicWish | AddNic | ModifyNic) -> dict[str, Any]:
    """What a request says of a NIC's link, addresses and rules, as its record has it. Raises NotFound for a firewall that is not there."""
    said = {field: getattr(request, field) for field in _PLAIN if getattr(request, field) is not None}
    if request.firewalls is not None:
        said["firewalls"] = resolve_firewalls(view, request.firewalls)
    if request.rules is not None:
        said["rules"] = resolve_rules(view, request.rules)
    return said


def resolve_firewalls(view: ClusterView, names: Iterable[str]) -> tuple[str, ...]:
    """Their ids, each once. Raises NotFound."""
    return tuple(dict.fromkeys(view.firewall(name).id for name in names))


def firewalls_of(instance: Instance) -> set[str]:
    """The ids of all firewalls that an instance or its NICs have, or that rules of their own name: they must stay."""
    peers = {rule.peer for nic in instance.nics for rule in nic.rules if rule.peer.startswith(OF_FIREWALL)}
    has = {*instance.firewalls, *(id for nic in instance.nics for id in nic.firewalls)}
    return has | {peer.removeprefix(OF_FIREWALL) for peer in peers}


def users_of(view: ClusterView, firewall: str) -> list[str]:
    """The names of the instances that have it, themselves or on a NIC; of those that may be restored, too."""
    return sorted({each.name for each in _instances(view) if firewall in firewalls_of(each)})


def _instances(view: ClusterView) -> Iterator[Instance]:
    yield from view.instances
    yield from (kept.instance for kept in view.removed)


def named_by(view: ClusterView, firewall: str) -> list[str]:
    """The other firewalls whose rules name it as their other side; its own rules go with it."""
    peer = f"{OF_FIREWALL}{firewall}"
    others = (other for other in view.all("firewall", Firewall) if other.id != firewall)
    return sorted(str(other) for other in others if any(rule.peer == peer for rule in other.rules))


def filtering(view: ClusterView, instance: Instance, before: Instance | None) -> tuple[Step, ...]:
    """The step after which the instance's NICs are filtered as its record says; taken back, as the record `before` said, if there was
    one. None for an instance without NICs: what had one is filtered no more when it is taken out."""
    if not instance.nics:
        return ()
    present = filters_of(view, before) if before else ()
    return (EnsureFiltered(node=instance.node, instance=instance.id, filters=filters_of(view, instance), before=present),)
