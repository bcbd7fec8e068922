"""Facts of this machine about volumes, not policy: who must grow a file, where an image's clone comes from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from covey.base.errors import NotFound, Unavailable, require
from covey.host.export.parts import Parts
from covey.host.host import Host
from covey.host.storage.protocol import Source
from covey.model.pool import Volume


async def ensure_volume(host: Host, volume: Volume, image: str, job: str) -> int:
    """The volume exists, cloned from `image` when one is named; returns its real size. Raises NotFound when the image's file is
    gone, and what the storage raises."""
    return await host.storage(volume.place).ensure_volume(volume, job, await _source(host, image))


async def ensure_brought(
    host: Host, volume: Volume, source: Volume, image: str, origin: str, address: str, job: str, told: Callable[[int, int], None]
) -> int:
    """The volume exists and shows what `source` does on the node `origin`, laid on `image` when one is named; returns its real size."""

    def fetch(start: int) -> AbstractAsyncContextManager[Parts]:
        return host.fetches.opened(source, bool(image), start, origin, address)

    return await host.storage(volume.place).ensure_brought(volume, job, await _source(host, image), fetch, told)


async def _source(host: Host, image: str) -> Source | None:
    if not image:
        return None
    facts = require(
        await host.images.facts(image),
        NotFound("its file is gone from this machine", f"image {image}", "remove the image and add it again"),
    )
    return Source(host.images.path(image), facts.format, facts.size)


async def ensure_imported(
    host: Host, volume: Volume, upload: str, format: str, job: str, told: Callable[[int, int], None]
) -> int:
    """The volume exists, made of an image that was sent; returns its real size. Raises NotFound when that is gone."""
    source = host.uploads.source(volume.place, upload, format)
    return await host.storage(volume.place).ensure_imported(volume, job, source, told)


async def ensure_volume_size(host: Host, instance: str, disk: int, volume: Volume) -> int:
    """Grow a volume where it can be grown: while the guest runs, QEMU holds a qcow2's lock and its tables, and must do it itself."""
    if volume.format == "qcow2" and await host.hypervisor.ensure_guest_size(instance, disk, volume.size):
        return volume.size
    return await host.storage(volume.place).ensure_size(volume, volume.size)


async def find_used(host: Host, volumes: tuple[Volume, ...], needed: bool) -> int:
    """Bytes that volumes take together. Raises NotFound for a missing one that is `needed`."""
    used = 0
    for volume in volumes:
        try:
            used += await host.storage(volume.place).used(volume)
        except (NotFound, Unavailable):
            if needed:
                raise
    return used
