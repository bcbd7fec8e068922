"""Steps on the node itself."""

from __future__ import annotations

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.model.steps.node import EnsureAccelerator, EnsureAnswer, EnsureListening


@carries_out(EnsureAnswer)
async def ensure_answer(work: Work, step: EnsureAnswer) -> Result:
    return {}


@takes_back(EnsureAnswer)
async def undo_answer(work: Work, step: EnsureAnswer) -> None:
    return None


@carries_out(EnsureListening)
async def ensure_listening(work: Work, step: EnsureListening) -> None:
    await work.host.doors.ensure_open(step.address)


@takes_back(EnsureListening)
async def undo_listening(work: Work, step: EnsureListening) -> None:
    await work.host.doors.ensure_closed(step.address)


@carries_out(EnsureAccelerator)
async def ensure_accelerator(work: Work, step: EnsureAccelerator) -> Result:
    work.progress("trying a guest", 0, 0)
    accelerator, why = await work.host.hypervisor.prove(step.wanted, step.timeout_s)
    return {"accelerator": accelerator, "why": why}


@takes_back(EnsureAccelerator)
async def undo_accelerator(work: Work, step: EnsureAccelerator) -> None:
    return None
