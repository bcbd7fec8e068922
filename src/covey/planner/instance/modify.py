"""instance modify."""

from __future__ import annotations

from dataclasses import fields, replace

from covey.model.image import Image
from covey.model.instance import Instance
from covey.model.plan import Plan, change, nothing, put
from covey.model.requests.instance import ModifyInstance
from covey.model.shape import Pending, Shape, at_once, pending, shape_of
from covey.model.step import Step
from covey.model.steps.instance import EnsureRedefined
from covey.model.view import ClusterView
from covey.placement.choose import check_memory
from covey.planner.bringing import bringing
from covey.planner.filters import filtering, resolve_firewalls
from covey.planner.instance.parts import (
    check_maximum,
    check_platform,
    check_settled,
    cpu_warnings,
    domain_of,
    graceful_sentence,
    ready_iso,
    running_anew,
    started,
    uses_of_both,
)
from covey.planner.registry import plans
from covey.planner.wording import named


@plans(ModifyInstance)
def modify(view: ClusterView, request: ModifyInstance) -> Plan:
    """Raises Refused for more than the declared maximum, NoSpace when its node has no memory for it."""
    instance = view.instance(request.instance)
    check_settled(instance)
    after = _modified(view, instance, request)
    changed = tuple(field.name for field in fields(Instance) if getattr(after, field.name) != getattr(instance, field.name))
    waits = named_pending(view, pending_of(view, after))
    if not changed and not (request.restart and waits):
        return nothing(f"{instance} is so already")
    filtered = filtering(view, after, instance) if "firewalls" in changed else ()
    if domain_of(view, after) == domain_of(view, instance) and not request.restart:
        return Plan(
            f"change {_named(changed)} of {instance}", filtered, uses_of_both(instance, after), success=(change(after, *changed),)
        )
    check_maximum(after)
    check_platform(view, view.node_by_id(instance.node), after)
    if instance.desired == "running" and after.memory > instance.memory:
        check_memory(view, view.node_by_id(instance.node), after.memory - instance.memory, instance)
    iso: Image | None = view.find("image", after.iso) if after.iso != instance.iso else None
    first = (*bringing(view, instance.node, (iso,)), *filtered)
    redefined = EnsureRedefined(node=instance.node, domain=domain_of(view, after), before=domain_of(view, instance))
    if request.restart and waits:
        return _restarting(view, instance, after, (*first, redefined), changed)
    return Plan(
        f"change {_named(changed)} of {instance}" + _when(waits),
        (*first, redefined),
        uses_of_both(instance, after),
        reasons=_reasons(view, after),
        warnings=(*_warnings(instance, after, waits), *(cpu_warnings(view, after) if "cpus" in changed else ())),
        begin=(change(after, *changed),),  # from here on its memory is promised
        undone=(change(instance, *changed),),
    )


def _warnings(before: Instance, after: Instance, waits: tuple[Pending, ...]) -> tuple[str, ...]:
    warnings = [f"{wait.sentence} takes effect at the next start: covey instance reboot {before.name}" for wait in waits]
    if after.firmware != before.firmware and before.disks:
        was, will = before.firmware.upper(), after.firmware.upper()
        warnings.append(f"a system that was installed with {was} does as a rule not boot with {will}")
    if after.raw_xml and after.raw_xml != before.raw_xml:
        warnings.append("what raw XML does to the guest is the administrator's affair: Covey only hands it on")
    return tuple(warnings)


def pending_of(view: ClusterView, instance: Instance) -> tuple[Pending, ...]:
    """What of the record the run under way cannot become: it waits for the next start."""
    live = view.observed(instance.id).live
    wanted = shape_of(instance)
    return pending(wanted, at_once(live, wanted)) if live else ()


def _modified(view: ClusterView, instance: Instance, request: ModifyInstance) -> Instance:
    """The record with what the request names."""
    asked = {
        field.name: getattr(request, field.name)
        for field in fields(Instance)
        if field.name in _MODIFIABLE and getattr(request, field.name) is not None
    }
    if "tags" in asked:
        asked["tags"] = tuple(sorted(set(asked["tags"])))
    if asked.get("iso"):
        asked["iso"] = ready_iso(view, asked["iso"], instance).id
    if "firewalls" in asked:
        asked["firewalls"] = resolve_firewalls(view, asked["firewalls"])
    return replace(instance, **asked)


_MODIFIABLE = {field.name for field in fields(ModifyInstance)}


def named_pending(view: ClusterView, waits: tuple[Pending, ...]) -> tuple[Pending, ...]:
    """With images by name."""
    return tuple(
        replace(one, now=_image(view, one.now), then=_image(view, one.then)) if one.field == "iso" else one for one in waits
    )


def _image(view: ClusterView, id: str) -> str:
    image = view.find("image", id)
    return image.name if image else id


def _restarting(
    view: ClusterView, instance: Instance, after: Instance, first: tuple[Step, ...], changed: tuple[str, ...]
) -> Plan:
    graceful_s = view.cluster.defaults.stop_graceful_s
    record = started(view, after, "")
    steps: tuple[Step, ...] = (
        *first,
        *running_anew(record, graceful_s),
    )
    what = f"change {_named(changed)} of {instance}" if changed else f"apply what waits for the next start of {instance}"
    return Plan(
        f"{what}; reboot it: {graceful_sentence(graceful_s)}, then started",
        steps,
        uses_of_both(instance, record),
        warnings=cpu_warnings(view, after) if "cpus" in changed else (),
        begin=(put(record),),
        undone=(put(instance),),
        repair=f"covey instance start {instance.name}",
    )


def _named(changed: tuple[str, ...]) -> str:
    return named([field.replace("_", " ") for field in changed])


def _when(waits: tuple[Pending, ...]) -> str:
    return f"; at its next start: {', '.join(wait.sentence for wait in waits)}" if waits else ""


def _reasons(view: ClusterView, after: Instance) -> tuple[str, ...]:
    """What the running guest is asked to take."""
    live: Shape | None = view.observed(after.id).live
    if live is None:
        return ("it does not run: its next start has it",)
    asked = named_pending(view, pending(at_once(live, shape_of(after)), live))
    return tuple(f"the running guest is asked for {one.sentence} at once, after {one.now}" for one in asked)
