"""Steps on instances."""

from __future__ import annotations

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.host import domains
from covey.model.steps.instance import (
    EnsureAskedToStop,
    EnsureDefined,
    EnsureGeneration,
    EnsureInstanceAbsent,
    EnsureRedefined,
    EnsureRunning,
    EnsureSeed,
    EnsureStopped,
)


@carries_out(EnsureSeed)
async def ensure_seed(work: Work, step: EnsureSeed) -> None:
    await work.host.guests.ensure_seed(step.seed, work.secrets.get(step.secret, ""))


@takes_back(EnsureSeed)
async def undo_seed(work: Work, step: EnsureSeed) -> None:
    await domains.take_back_seed(work.host, step.seed.instance, work.job)


@carries_out(EnsureDefined)
async def ensure_defined(work: Work, step: EnsureDefined) -> None:
    await domains.ensure_defined(work.host, step.domain, work.job)


@takes_back(EnsureDefined)
async def undo_defined(work: Work, step: EnsureDefined) -> None:
    await work.host.hypervisor.ensure_absent(step.domain.instance, work.job)


@carries_out(EnsureRedefined)
async def ensure_redefined(work: Work, step: EnsureRedefined) -> Result:
    return {"pending": list(await domains.ensure_redefined(work.host, step.domain, work.job))}


@takes_back(EnsureRedefined)
async def undo_redefined(work: Work, step: EnsureRedefined) -> None:
    await domains.ensure_redefined(work.host, step.before, work.job)


@carries_out(EnsureRunning)
async def ensure_running(work: Work, step: EnsureRunning) -> Result:
    pid, generation = await domains.ensure_running(work.host, step.instance, step.generation)
    return {"pid": pid, "generation": generation}


@takes_back(EnsureRunning)
async def undo_running(work: Work, step: EnsureRunning) -> None:
    await domains.take_back_run(work.host, step.instance, step.generation)


@carries_out(EnsureGeneration)
async def ensure_generation(work: Work, step: EnsureGeneration) -> Result:
    return {"pid": await domains.ensure_generation(work.host, step.instance, step.generation)}


@carries_out(EnsureAskedToStop)
async def ensure_asked_to_stop(work: Work, step: EnsureAskedToStop) -> Result:
    work.progress(f"waiting up to {step.graceful_s:g} s for it to shut down", 0, 0)
    return {"stopped": await work.host.hypervisor.ensure_asked_to_stop(step.instance, step.graceful_s)}


@takes_back(EnsureAskedToStop)
async def undo_asked_to_stop(work: Work, step: EnsureAskedToStop) -> None:
    await domains.take_back_asking(work.host, step.instance)


@carries_out(EnsureStopped)
async def ensure_stopped(work: Work, step: EnsureStopped) -> Result:
    return {"cut": await domains.ensure_stopped(work.host, step.instance, step.generation)}


@carries_out(EnsureInstanceAbsent)
async def ensure_instance_absent(work: Work, step: EnsureInstanceAbsent) -> None:
    await domains.ensure_instance_absent(work.host, step.instance, step.keep_variables)
