"""Verbs of firewalls."""

from __future__ import annotations

from dataclasses import fields, replace

from covey.base.errors import Refused, check
from covey.model.filter import OF_FIREWALL, Rule
from covey.model.firewall import Firewall
from covey.model.plan import Plan, Uses, change, delete, nothing, put
from covey.model.requests.firewall import AddFirewall, ModifyFirewall, RemoveFirewall
from covey.model.steps.firewall import EnsureFirewall, EnsureFirewallAbsent
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.everywhere import NODES, all_nodes, reached
from covey.planner.filters import named_by, resolve_rules, users_of
from covey.planner.registry import plans
from covey.planner.wording import named


@plans(AddFirewall)
def add(view: ClusterView, request: AddFirewall) -> Plan:
    """Raises Refused for a name that is taken, NotFound for a firewall that a rule names in vain."""
    view.check_initialised()
    check(
        not view.named("firewall", request.name),
        Refused("the name is taken", f"firewall {request.name}", f"see: covey firewall info {request.name}"),
    )
    rules = resolve_rules(view, request.rules)
    record = Firewall(draw_uuid(request, "firewall"), request.name, rules, request.now, request.notes)
    return Plan(
        f"make {record} of {len(rules)} rule{'' if len(rules) == 1 else 's'}",
        tuple(EnsureFirewall(node=node.id, firewall=record.id, rules=rules, before=None) for node in reached(view)),
        Uses((f"firewall/{record.id}", f"firewall-name/{record.name}"), (*_named_peers(rules), NODES)),
        reasons=("nobody has it yet: covey nic modify, or covey instance modify, with --firewall",),
        success=(put(record),),
    )


@plans(ModifyFirewall)
def modify(view: ClusterView, request: ModifyFirewall) -> Plan:
    """Raises NotFound for a firewall that a rule names in vain."""
    before = view.firewall(request.firewall)
    rules = before.rules if request.rules is None else resolve_rules(view, request.rules)
    after = replace(before, rules=rules, notes=before.notes if request.notes is None else request.notes)
    changed = [field.name for field in fields(Firewall) if getattr(before, field.name) != getattr(after, field.name)]
    if not changed:
        return nothing(f"{before} is so already")
    steps = tuple(EnsureFirewall(node=node.id, firewall=after.id, rules=rules, before=before.rules) for node in reached(view))
    users = users_of(view, after.id)
    return Plan(
        f"change {named(changed)} of {after}",
        steps if "rules" in changed else (),
        Uses((f"firewall/{after.id}",), (*_named_peers(rules), NODES)),
        reasons=(f"it holds at once for {named(users)}" if users else "nobody has it yet",),
        success=(change(after, *changed),),
    )


@plans(RemoveFirewall)
def remove(view: ClusterView, request: RemoveFirewall) -> Plan:
    """Raises Refused while something has it, or a rule names it."""
    firewall = view.firewall(request.firewall)
    users = users_of(view, firewall.id)
    check(
        not users,
        Refused(f"{named(users)} {'has' if len(users) == 1 else 'have'} it", firewall, "take it away there first: --no-firewall"),
    )
    others = named_by(view, firewall.id)
    check(not others, Refused(f"rules of {named(others)} name it", firewall, "change those first"))
    return Plan(
        f"remove {firewall}",
        tuple(EnsureFirewallAbsent(node=node.id, firewall=firewall.id) for node in all_nodes(view)),
        Uses((f"firewall/{firewall.id}",), (NODES,)),
        success=(delete(firewall),),
        repair=f"covey firewall remove {firewall.name}",
    )


def _named_peers(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """The firewalls that must stay, as these rules name them."""
    ids = {rule.peer.removeprefix(OF_FIREWALL) for rule in rules if rule.peer.startswith(OF_FIREWALL)}
    return tuple(f"firewall/{id}" for id in sorted(ids))
