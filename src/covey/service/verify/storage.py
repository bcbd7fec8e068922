"""Pools, volumes, images, and what was sent: files on the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from covey.base.units import humane_size
from covey.model.image import Image
from covey.model.instance import Disk, Instance
from covey.model.node import Node
from covey.model.order import Inventory
from covey.model.pool import FoundVolume, Pool, Volume
from covey.model.removed import Removed
from covey.model.requests.disk import GrowDisk, ImportDisk
from covey.model.requests.repair import (
    RemoveOrphanImage,
    RemoveOrphanUpload,
    RemoveOrphanVolume,
)
from covey.model.stale import Stale
from covey.service.layers import FOREIGN, NO_FIX, layer_troubles
from covey.service.verify.work import AND_FIX, ERROR, NO_TAG, WARNING, Work

JUST_SENT_S = 60.0


def check_pools(work: Work, node: Node) -> None:
    told = work.after.telemetry.get(node.id)
    for pool in work.after.all("pool", Pool):
        if pool.capability.holds_volumes and work.is_settled("pool", pool.id):
            work.check()
            if told and pool.id not in told.pools:
                work.find(
                    f"{node.id}:{pool.id}",
                    ERROR,
                    pool,
                    "pool-unreachable",
                    f"{node.name} tells of no room in {pool.place.path}",
                    "its directory is gone, not mounted, or belongs to something else",
                    f"mount or restore {pool.place.path} on {node.name}",
                )


def check_volumes(work: Work, node: Node, inventory: Inventory) -> None:
    found = {volume.id: volume for volume in inventory.volumes}
    owned = {disk.volume.id for view in (work.before, work.after) for _, disk in view.disks}
    owned |= {layer.id for view in (work.before, work.after) for layer in view.layers}
    owned |= {volume.base for volume in inventory.volumes}  # whatever lies on it could not be read without it
    for instance in work.after.instances:
        if instance.node == node.id and instance.state == "ready" and work.is_settled("instance", instance.id):
            for disk in instance.disks:
                work.check()
                _check_volume(work, node, instance, disk, found.get(disk.volume.id))
    _check_kept(work, node, found)
    for layer in work.after.layers:
        if layer.node == node.id and work.is_settled("layer", layer.id):
            work.check()
            for trouble in layer_troubles(work.after, node, layer, found.get(layer.id)):
                work.find(layer.id, ERROR, trouble.object, trouble.name, trouble.what, trouble.why, trouble.fix)
    for volume in inventory.volumes:
        work.check()
        if volume.id not in owned and work.is_settled("volume", volume.id):
            work.orphan(
                f"{node.name}:{volume.id}",
                f"volume {node.name}:{volume.place.path}/{volume.id}",
                "orphan-volume",
                f"{humane_size(volume.used)} that no record names",
                NO_TAG,
                volume.job,
                RemoveOrphanVolume(node=node.name, volume=Volume(volume.id, volume.place, volume.format, volume.size)),
            )


def check_uploads(work: Work, node: Node, inventory: Inventory) -> None:
    """Between the end of an upload and its job there is a moment."""
    jobs = [job for view in (work.before, work.after) for job in view.jobs]
    wanted = {job.request.upload for job in jobs if isinstance(job.request, ImportDisk)}
    for upload in inventory.uploads:
        work.check()
        if upload.id not in wanted and upload.age_s > JUST_SENT_S and work.is_settled("upload", upload.id):
            work.find(
                f"{node.name}:{upload.id}",
                WARNING,
                f"upload {node.name}:{upload.place.path}/{upload.id}",
                "orphan-upload",
                f"{humane_size(upload.used)} of an image that was sent, and that no job makes a disk of",
                "whoever sent it, or Covey, ended before its job began",
                f"nothing: it goes by itself a day after it came; or at once: {AND_FIX}",
                RemoveOrphanUpload(node=node.name, place=upload.place, upload=upload.id),
            )


def _check_kept(work: Work, node: Node, found: Mapping[str, FoundVolume]) -> None:
    """What was removed can be had back only while its volumes are there."""
    for removed in work.after.removed:
        if removed.instance.node == node.id and work.is_settled("removed", removed.id):
            work.check()
            lost = [disk.volume.id for disk in removed.instance.disks if disk.volume.id not in found]
            if lost:
                what = f"its volume {lost[0]} is not on {node.name}: it cannot be restored"
                why = "the file was removed behind Covey's back, or its file system is not mounted"
                fix = f"bring the file back, or: {removed.purge}"
                work.find(removed.id, WARNING, removed, "missing-kept-volume", what, why, fix)


def _check_volume(work: Work, node: Node, instance: Instance, disk: Disk, found: FoundVolume | None) -> None:
    key, object = f"{instance.id}:{disk.index}", f"disk {instance.name}/{disk.index}"
    if found is None or not (found.size or found.used):  # its tag alone is left
        work.find(
            key,
            ERROR,
            object,
            "missing-volume",
            f"its volume {disk.volume.id} is not on {node.name}",
            "the file was removed behind Covey's back, or its file system is not mounted",
            f"bring back {disk.volume.place.path}, or give it up: covey disk remove {instance.name} {disk.index} --purge",
        )
    elif found.base != disk.base:
        work.find(
            key,
            ERROR,
            object,
            "broken-chain",
            f"its volume lies on {found.base or 'nothing'}, not on {disk.base}",
            FOREIGN,
            NO_FIX,
        )
    elif found.size > disk.size:
        work.find(
            key,
            WARNING,
            object,
            "wrong-size",
            f"its volume has {humane_size(found.size)}, the record says {humane_size(disk.size)}",
            "it was grown behind Covey's back, or growing it was cut short",
            AND_FIX,
            GrowDisk(instance=instance.name, disk=disk.index, size=found.size),
        )
    elif found.size < disk.size:
        work.find(
            key,
            ERROR,
            object,
            "wrong-size",
            f"its volume has {humane_size(found.size)}, the record says {humane_size(disk.size)}",
            "it was cut behind Covey's back: the end of what the guest wrote may be lost",
            f"make it whole again: covey disk grow {instance.name} {disk.index} +1M, then check the guest's file system",
        )


def owner_node(owner: Instance | Removed | Stale) -> str:
    return owner.node if isinstance(owner, Instance) else owner.instance.node


def check_images(work: Work, node: Node, inventory: Inventory) -> None:
    found = dict(inventory.images)
    needed = {disk.image for owner, disk in work.after.disks if owner_node(owner) == node.id and disk.volume.format == "qcow2"}
    for image in work.after.all("image", Image):
        is_home = image.node in ("", node.id)
        if (is_home or image.id in needed) and image.state == "ready" and work.is_settled("image", image.id):
            work.check()
            if image.id not in found:
                work.find(
                    f"{node.name}:{image.id}",
                    ERROR,
                    image,
                    "missing-image",
                    f"its file is not on {node.name}",
                    "it was removed behind Covey's back; disks cloned from it cannot be read without it",
                    f"restore {image.id} in the image directory of {node.name} (sha256 {image.sha256[:16]}...)",
                )
    for id, job in found.items():
        work.check()
        if not (work.before.find("image", id) or work.after.find("image", id)) and work.is_settled("image", id):
            request = RemoveOrphanImage(node=node.name, image=id)
            what = "a file that no record names"
            work.orphan(f"{node.name}:{id}", f"image {node.name}:{id}", "orphan-image", what, NO_TAG, job, request)
