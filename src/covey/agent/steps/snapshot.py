"""Steps on layers."""

from __future__ import annotations

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.host import layers
from covey.model.steps.snapshot import EnsureDisksReplaced, EnsureFrozen, EnsureMerged, EnsureOverlay


@carries_out(EnsureOverlay)
async def ensure_overlay(work: Work, step: EnsureOverlay) -> Result:
    return {"size": await work.host.storage(step.volume.place).ensure_overlay(step.volume, work.job, step.base)}


@takes_back(EnsureOverlay)
async def undo_overlay(work: Work, step: EnsureOverlay) -> None:
    await layers.take_back_overlay(work.host, step.volume, work.job)


@carries_out(EnsureFrozen)
async def ensure_frozen(work: Work, step: EnsureFrozen) -> Result:
    return {"quiesced": await layers.ensure_frozen(work.host, step.domain)}


@carries_out(EnsureDisksReplaced)
async def ensure_disks_replaced(work: Work, step: EnsureDisksReplaced) -> None:
    await layers.ensure_disks_replaced(work.host, step.domain, work.job)


@carries_out(EnsureMerged)
async def ensure_merged(work: Work, step: EnsureMerged) -> None:
    await layers.ensure_merged(
        work.host,
        step.domain,
        step.disk,
        step.top,
        step.base,
        step.above,
        work.job,
        lambda done, total: work.progress(f"merging layers of disk {step.disk}", done, total),
    )
