"""instance start, stop, reboot, reset, modify, remove."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, check
from covey.model.instance import Instance
from covey.model.plan import Plan, delete, nothing, put
from covey.model.requests.instance import (
    ModifyInstance,
    RebootInstance,
    RemoveInstance,
    ResetInstance,
    StartInstance,
    StopInstance,
)
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.instance import EnsureGeneration, EnsureInstanceAbsent, EnsureStopped
from covey.model.view import ClusterView
from covey.placement.choose import check_memory
from covey.planner.instance.parts import (
    as_it_runs,
    await_ready,
    check_settled,
    forget_secret,
    graceful_sentence,
    presence,
    running,
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
        (EnsureGeneration(node=after.node, instance=after.id, generation=after.generation, graceful_s=graceful_s),),
        uses_of(after),
        begin=(put(after),),
        awaits=await_ready(view, after) if wait_ready else None,
        repair=f"covey instance start {instance.name}",
    )


@plans(ModifyInstance)
def modify(view: ClusterView, request: ModifyInstance) -> Plan:
    instance = view.instance(request.instance)
    check_settled(instance)
    after = replace(
        instance,
        tags=instance.tags if request.tags is None else tuple(sorted(set(request.tags))),
        notes=instance.notes if request.notes is None else request.notes,
    )
    if after == instance:
        return nothing(f"{instance} is so already")
    return Plan(f"change tags and notes of {instance}", uses=uses_of(instance), success=(put(after),))


@plans(RemoveInstance)
def remove(view: ClusterView, request: RemoveInstance) -> Plan:
    """Cut it and remove it with its disks; what a killed removal left is finished by the next."""
    instance = view.instance(request.instance)
    maker = view.job_at_work_on(f"instance/{instance.id}") if instance.state == "adding" else 0
    check(not maker, Refused("it is being made", instance, f"cancel that: covey job cancel {maker}"))
    count = len(instance.disks)
    return Plan(
        f"remove {instance} with {count} disk{'' if count == 1 else 's'}",
        (
            EnsureStopped(node=instance.node, instance=instance.id),
            EnsureInstanceAbsent(node=instance.node, instance=instance.id),
            *(EnsureVolumeAbsent(node=instance.node, volume=disk.volume) for disk in instance.disks),
        ),
        uses_of(instance),
        warnings=("what is on its disks is lost",) if count else (),
        begin=(put(replace(instance, state="removing", desired="stopped", desired_by="")),),
        success=(
            delete(instance),
            delete(view.observed(instance.id)),
            *forget_secret(instance),
        ),  # the latter may be heard of only now
        undone=(put(instance),),
        repair=f"covey instance remove {instance.name}",
    )
