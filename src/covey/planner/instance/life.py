"""instance start, stop, reboot, reset."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, check
from covey.model.instance import Instance
from covey.model.plan import Plan, nothing, put
from covey.model.requests.instance import (
    RebootInstance,
    ResetInstance,
    StartInstance,
    StopInstance,
)
from covey.model.steps.instance import EnsureDefined
from covey.model.view import ClusterView
from covey.placement.choose import check_memory
from covey.planner.bringing import bringing
from covey.planner.instance.parts import (
    as_it_runs,
    await_ready,
    check_settled,
    domain_of,
    graceful_sentence,
    presence,
    ready_iso,
    running,
    running_anew,
    started,
    stopping,
    uses_of,
)
from covey.planner.registry import plans


@plans(StartInstance)
def start(view: ClusterView, request: StartInstance) -> Plan:
    """Raises NoSpace when its node has no memory for it."""
    instance = view.instance(request.instance)
    check_settled(instance)
    observed = view.observed(instance.id)
    if request.iso:
        return _start_from_iso(view, instance, request)
    if observed.state == "running" and instance.desired == "running":
        if not request.wait_ready or observed.ready_generation >= instance.generation:
            return nothing(f"{instance} runs already")
        _, run = running(view, instance, "")
        return Plan(
            f"wait for {instance}, which runs already",
            (run,),
            uses_of(instance),
            success=as_it_runs(instance, (run,)),
            awaits=await_ready(view, instance),
        )
    if instance.desired != "running":  # what should run is counted already
        check_memory(view, view.node_by_id(instance.node), instance.memory, instance)
    after, run = running(view, instance, "")
    steps = (*presence(view, after), run)
    return Plan(
        f"start {instance}",
        steps,
        uses_of(after),
        begin=(put(after),),
        success=as_it_runs(after, steps),
        undone=(put(replace(after, desired=instance.desired, desired_by=instance.desired_by)),),
        awaits=await_ready(view, after) if request.wait_ready else None,
    )


def _start_from_iso(view: ClusterView, instance: Instance, request: StartInstance) -> Plan:
    """This run has the ISO and boots from it first; the definition for the next one is at once without it again."""
    iso = ready_iso(view, request.iso, instance)
    check(
        view.observed(instance.id).state not in ("running", "paused"),
        Refused(
            "it runs already, and only a start can boot from an ISO",
            instance,
            f"first: covey instance stop {instance.name}",
        ),
    )
    if instance.desired != "running":
        check_memory(view, view.node_by_id(instance.node), instance.memory, instance)
    after, run = running(view, instance, "")
    once = replace(after, iso=iso.id, boot=())
    steps = (
        *bringing(view, after.node, (iso,)),
        *presence(view, once),
        run,
        EnsureDefined(node=after.node, domain=domain_of(view, after)),
    )
    return Plan(
        f"start {instance} from {iso}, this once",
        steps,
        uses_of(once),
        reasons=(f"at its next start {iso} is out of its drive again",),
        begin=(put(after),),
        success=as_it_runs(after, steps),
        undone=(put(replace(after, desired=instance.desired, desired_by=instance.desired_by)),),
        awaits=await_ready(view, after) if request.wait_ready else None,
    )


@plans(StopInstance)
def stop(view: ClusterView, request: StopInstance) -> Plan:
    instance = view.instance(request.instance)
    check_settled(instance)
    if instance.desired == "stopped" and view.observed(instance.id).state in ("stopped", "unknown"):
        return nothing(f"{instance} is stopped already")
    graceful_s = view.cluster.defaults.stop_graceful_s if request.graceful_s is None else request.graceful_s
    after = replace(instance, desired="stopped", desired_by="")
    return Plan(
        f"stop {instance}: {graceful_sentence(graceful_s)}",
        stopping(instance, graceful_s),
        uses_of(instance),
        begin=(put(after),),
        undone=(put(instance),),
        repair=f"covey instance stop {instance.name} --now",
    )


@plans(RebootInstance)
def reboot(view: ClusterView, request: RebootInstance) -> Plan:
    """A new QEMU, so that changes kept for the next start take effect. A stopped instance is not started by it."""
    instance = view.instance(request.instance)
    graceful_s = view.cluster.defaults.stop_graceful_s if request.graceful_s is None else request.graceful_s
    return _run_anew(
        view,
        instance,
        graceful_s,
        f"reboot {instance}: {graceful_sentence(graceful_s)}, then started",
        request.wait_ready,
    )


@plans(ResetInstance)
def reset(view: ClusterView, request: ResetInstance) -> Plan:
    instance = view.instance(request.instance)
    return _run_anew(view, instance, 0.0, f"reset {instance}: cut and started at once", wait_ready=False)


def _run_anew(view: ClusterView, instance: Instance, graceful_s: float, summary: str, wait_ready: bool) -> Plan:
    check_settled(instance)
    check(
        instance.desired == "running",
        Refused("it is stopped", instance, f"start it: covey instance start {instance.name}"),
    )
    after = started(view, instance, "")
    return Plan(
        summary,
        (
            *presence(view, after),  # what waited for the next start
            *running_anew(after, graceful_s),
        ),
        uses_of(after),
        begin=(put(after),),
        undone=(put(instance),),
        awaits=await_ready(view, after) if wait_ready else None,
        repair=f"covey instance start {instance.name}",
    )
