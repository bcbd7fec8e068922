"""Steps on disks and volumes."""

from __future__ import annotations

from covey.agent.work import Result, Work, carries_out, takes_back
from covey.host import layers, volumes
from covey.model.steps.disk import (
    EnsureCopy,
    EnsureDiskAttached,
    EnsureDiskDetached,
    EnsureFlat,
    EnsureGuestSeesSize,
    EnsureImported,
    EnsureUploadAbsent,
    EnsureVolume,
    EnsureVolumeAbsent,
    EnsureVolumeBrought,
    EnsureVolumeOffered,
    EnsureVolumesFound,
    EnsureVolumeSize,
)

UNDO_DETACH_TIMEOUT_S = 30.0


@carries_out(EnsureVolume)
async def ensure_volume(work: Work, step: EnsureVolume) -> Result:
    return {"size": await volumes.ensure_volume(work.host, step.volume, step.image, work.job)}


@takes_back(EnsureVolume)
async def undo_volume(work: Work, step: EnsureVolume) -> None:
    await work.host.storage(step.volume.place).ensure_volume_absent(step.volume, work.job)


@carries_out(EnsureCopy)
async def ensure_copy(work: Work, step: EnsureCopy) -> Result:
    def told(done: int, total: int) -> None:
        work.progress("copying", done, total)

    storage = work.host.storage(step.volume.place)
    return {"size": await storage.ensure_copy(step.volume, work.job, work.host.attachment(step.source), told)}


@takes_back(EnsureCopy)
async def undo_copy(work: Work, step: EnsureCopy) -> None:
    await work.host.storage(step.volume.place).ensure_volume_absent(step.volume, work.job)


@carries_out(EnsureImported)
async def ensure_imported(work: Work, step: EnsureImported) -> Result:
    def told(done: int, total: int) -> None:
        work.progress("converting", done, total)

    return {"size": await volumes.ensure_imported(work.host, step.volume, step.upload, step.format, work.job, told)}


@takes_back(EnsureImported)
async def undo_imported(work: Work, step: EnsureImported) -> None:
    await work.host.storage(step.volume.place).ensure_volume_absent(step.volume, work.job)
    await work.host.uploads.ensure_absent(step.volume.place, step.upload)


@carries_out(EnsureVolumeOffered)
async def ensure_offered(work: Work, step: EnsureVolumeOffered) -> None:
    await work.host.storage(step.volume.place).ensure_offered(step.volume, step.to, work.job)


@takes_back(EnsureVolumeOffered)
async def undo_offered(work: Work, step: EnsureVolumeOffered) -> None:
    await work.host.storage(step.volume.place).ensure_not_offered(step.volume, work.job)


@carries_out(EnsureVolumeBrought)
async def ensure_brought(work: Work, step: EnsureVolumeBrought) -> Result:
    def told(done: int, total: int) -> None:
        work.progress("copying", done, total)

    brought = volumes.ensure_brought(work.host, step.volume, step.source, step.image, step.origin, step.address, work.job, told)
    return {"size": await brought}


@takes_back(EnsureVolumeBrought)
async def undo_brought(work: Work, step: EnsureVolumeBrought) -> None:
    await work.host.storage(step.volume.place).ensure_volume_absent(step.volume, work.job)


@carries_out(EnsureUploadAbsent)
async def ensure_upload_absent(work: Work, step: EnsureUploadAbsent) -> None:
    await work.host.uploads.ensure_absent(step.place, step.upload)


@carries_out(EnsureFlat)
async def ensure_flat(work: Work, step: EnsureFlat) -> None:
    def told(done: int, total: int) -> None:
        work.progress("copying", done, total)

    await layers.ensure_flat(work.host, step.instance, step.disk, step.volume, told)


@carries_out(EnsureVolumeSize)
async def ensure_volume_size(work: Work, step: EnsureVolumeSize) -> Result:
    return {"size": await volumes.ensure_volume_size(work.host, step.instance, step.disk, step.volume)}


@carries_out(EnsureGuestSeesSize)
async def ensure_guest_sees_size(work: Work, step: EnsureGuestSeesSize) -> None:
    await work.host.hypervisor.ensure_guest_size(step.instance, step.disk, step.size)


@carries_out(EnsureVolumeAbsent)
async def ensure_volume_absent(work: Work, step: EnsureVolumeAbsent) -> None:
    await work.host.storage(step.volume.place).ensure_volume_absent(step.volume)


@carries_out(EnsureVolumesFound)
async def ensure_volumes_found(work: Work, step: EnsureVolumesFound) -> Result:
    return {"used": await volumes.find_used(work.host, step.volumes, step.needed)}


@takes_back(EnsureVolumesFound)
async def undo_volumes_found(work: Work, step: EnsureVolumesFound) -> None:
    return None


@carries_out(EnsureDiskAttached)
async def ensure_attached(work: Work, step: EnsureDiskAttached) -> None:
    await work.host.hypervisor.ensure_attached(step.instance, step.disk, work.host.attachment(step.disk.volume))


@takes_back(EnsureDiskAttached)
async def undo_attached(work: Work, step: EnsureDiskAttached) -> None:
    await work.host.hypervisor.ensure_detached(step.instance, step.disk.index, UNDO_DETACH_TIMEOUT_S)


@carries_out(EnsureDiskDetached)
async def ensure_detached(work: Work, step: EnsureDiskDetached) -> None:
    await work.host.hypervisor.ensure_detached(step.instance, step.disk, step.timeout_s)
