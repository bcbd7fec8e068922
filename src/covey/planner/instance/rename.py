"""instance rename."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, check
from covey.model.instance import Instance
from covey.model.plan import Plan, change, nothing
from covey.model.requests.instance import RenameInstance
from covey.model.steps.instance import EnsureRedefined
from covey.model.view import ClusterView
from covey.planner.instance.parts import check_settled, domain_of, uses_of
from covey.planner.registry import plans


@plans(RenameInstance)
def rename(view: ClusterView, request: RenameInstance) -> Plan:
    """Another name, for the record and as the domain's title. On hosts all is named by UUID, so nothing else has to change."""
    instance = view.instance(request.instance)
    check_settled(instance)
    if request.new_name == instance.name:
        return nothing(f"{instance} has that name already")
    check(
        not view.named("instance", request.new_name),
        Refused("the name is taken", f"instance {request.new_name}", f"see: covey instance info {request.new_name}"),
    )
    after = replace(instance, name=request.new_name)
    return Plan(
        f"rename {instance} to {request.new_name}",
        (EnsureRedefined(node=instance.node, domain=domain_of(view, after), before=domain_of(view, instance)),),
        uses_of(instance),
        warnings=(_what_the_guest_says(instance, request.new_name),),
        begin=(change(after, "name"),),  # from here on nobody else gets it
        undone=(change(instance, "name"),),
    )


def _what_the_guest_says(instance: Instance, name: str) -> str:
    still = f"the guest still calls itself as before, as a rule {instance.name}"
    if not instance.seeded:
        return f"{still}: change that within it"
    return (
        f"{still}; from its next start on its seed says {name}, which cloud-init takes over unless the hostname was set by hand"
    )
