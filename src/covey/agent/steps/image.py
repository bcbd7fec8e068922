"""Steps on images."""

from __future__ import annotations

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.model import codec
from covey.model.steps.image import EnsureImageAbsent, EnsureImageBrought, EnsureImageBuilt, EnsureImageFetched


@carries_out(EnsureImageFetched)
async def ensure_fetched(work: Work, step: EnsureImageFetched) -> Result:
    facts = await work.host.images.ensure_fetched(step.image, step.source, step.sha256, work.job, work.progress)
    return dict(codec.encode(facts))


@takes_back(EnsureImageFetched)
async def undo_fetched(work: Work, step: EnsureImageFetched) -> None:
    await work.host.images.ensure_absent(step.image, work.job)


@carries_out(EnsureImageBuilt)
async def ensure_built(work: Work, step: EnsureImageBuilt) -> Result:
    facts = await work.host.images.ensure_built(step.image, step.recipe, work.job, work.progress)
    return dict(codec.encode(facts))


@takes_back(EnsureImageBuilt)
async def undo_built(work: Work, step: EnsureImageBuilt) -> None:
    await work.host.images.ensure_absent(step.image, work.job)


@carries_out(EnsureImageBrought)
async def ensure_brought(work: Work, step: EnsureImageBrought) -> None:
    await work.host.images.ensure_brought(step.image, step.facts, step.address, step.origin, work.job, work.progress)


@takes_back(EnsureImageBrought)
async def undo_brought(work: Work, step: EnsureImageBrought) -> None:
    return None


@carries_out(EnsureImageAbsent)
async def ensure_image_absent(work: Work, step: EnsureImageAbsent) -> None:
    await work.host.images.ensure_absent(step.image)
