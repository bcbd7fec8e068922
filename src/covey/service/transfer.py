"""Disks that people fetch, and images that they send to be disks."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from covey.base.errors import BadInput, CoveyError, NotFound, Refused, check, require
from covey.model.instance import Instance
from covey.model.names import check_sha256
from covey.model.plan import Plan
from covey.model.pool import Volume
from covey.model.requests.disk import SMALLEST_DISK, ImportDisk
from covey.model.steps.disk import EnsureImported
from covey.model.transfer import Content, Found
from covey.model.view import ClusterView
from covey.service.access import Principal
from covey.service.inside import Inside
from covey.service.submit import Options, Submissions, Taken

FORMATS = ("qcow2", "raw")
READ = ("raw", "qcow2", "vmdk", "vdi", "vhdx")  # formats of images that are sent


@dataclass(frozen=True, slots=True)
class Image:
    """What is said of an image before it comes: its format ("" for what it looks like), its SHA-256 ("" for any), and its length in bytes,
    0 when that is not known."""

    format: str
    sha256: str
    length: int


@contextlib.asynccontextmanager
async def exported(
    inside: Inside, principal: Principal, name: str, index: int, snapshot: str, format: str
) -> AsyncIterator[Content]:
    """What a disk of a stopped instance holds, or what it held when a snapshot was taken. It is kept as an event who fetched it. Raises
    BadInput, NotFound, Refused while the instance runs or is being changed."""
    check(format in FORMATS, BadInput(f"{format[:40]!r} is no format to export", "format", f"there are: {', '.join(FORMATS)}"))
    instance = inside.view.instance(name)
    volume = _in_snapshot(inside.view, instance, index, snapshot) if snapshot else _at_rest(inside.view, instance, index)
    job = inside.view.job_at_work_on(f"instance/{instance.id}")
    check(not job, Refused("it is being changed", instance, f"wait for that: covey job watch {job}"))
    async with inside.nodes.export(instance.node, volume, format) as content:
        of = f" as of snapshot {snapshot}" if snapshot else ""
        inside.events.tell("disk.export", str(instance), f"{principal.name} fetches disk {index} of {instance}{of}")
        yield content


def _in_snapshot(view: ClusterView, instance: Instance, index: int, name: str) -> Volume:
    snapshot = view.snapshot(instance, name)
    kept = next((disk for disk in snapshot.disks if disk.index == index), None)
    layer = view.find("layer", kept.layer) if kept else None
    volume: Volume = require(
        layer, NotFound(f"it has no disk {index}", snapshot, f"see: covey snapshot list {instance.name}")
    ).volume
    return volume


def _at_rest(view: ClusterView, instance: Instance, index: int) -> Volume:
    disk = next((disk for disk in instance.disks if disk.index == index), None)
    found = require(disk, NotFound(f"it has no disk {index}", instance, f"see: covey instance info {instance.name}"))
    runs = view.observed(instance.id).state in ("running", "paused") or instance.desired == "running"
    freezes = found.volume.format in view.pool_by_id(found.pool).capability.snapshot_formats
    way = f"covey snapshot add {instance.name} NAME, then export with --snapshot NAME" if freezes else ""
    check(
        not runs,
        Refused(
            "it runs, and its disks change meanwhile", instance, way or f"stop it first: covey instance stop {instance.name}"
        ),
    )
    return found.volume


async def brought_in(
    inside: Inside,
    submissions: Submissions,
    principal: Principal,
    wish: ImportDisk,
    options: Options,
    image: Image,
    pieces: AsyncIterator[bytes],
) -> Taken:
    """Send an image to the node, and take in the job that makes a disk of it. What is refused leaves nothing. Raises what a preview
    raises, before anything is read; what the node refuses; what `pieces` raise."""
    planned = preview(submissions, principal, wish, options, image)
    step = next(step for step in planned.steps if isinstance(step, EnsureImported))
    upload = str(uuid.UUID(inside.draw(16)))
    found = await inside.nodes.receive(step.node, step.volume.place, upload, image.format, image.sha256, pieces)
    taken = None
    try:
        taken = await submissions.take(principal, replace(wish, upload=upload, found=found), options)
    finally:
        if taken is None or taken.job is None:  # it was refused, or had been taken in before, under the same key
            with contextlib.suppress(CoveyError):  # else it goes in time
                await inside.nodes.discard(step.node, step.volume.place, upload)
    return taken


def preview(submissions: Submissions, principal: Principal, wish: ImportDisk, options: Options, image: Image) -> Plan:
    """The plan for an image of which no more is known than how long it is. Raises BadInput, and what any preview raises."""
    hint = f"there are: {', '.join(READ)}"
    check(image.format in ("", *READ), BadInput(f"{image.format[:40]!r} is no format that is read", "source_format", hint))
    check_sha256(image.sha256, "sha256")
    return submissions.preview(
        principal, replace(wish, found=Found(image.format, SMALLEST_DISK, image.length, image.length)), options
    )
