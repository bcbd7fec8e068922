"""The template `diskless`: guests that boot from a CD-ROM image or the network and keep nothing."""

from __future__ import annotations

from collections.abc import Callable

from covey.base.errors import Refused
from covey.host.storage.protocol import Attachment, Fetch, Source
from covey.model.pool import CAPABILITIES, Capability, FoundVolume, Place, Space, Volume


class DisklessStorage:
    """Everything about nothing: the pool is always there and always empty."""

    @property
    def capability(self) -> Capability:
        return CAPABILITIES["diskless"]

    async def ensure_pool(self, place: Place, job: str) -> None: ...

    async def ensure_pool_absent(self, place: Place, job: str = "") -> None: ...

    async def space(self, place: Place) -> Space:
        return Space(0, 0)

    async def ensure_volume(self, volume: Volume, job: str, source: Source | None) -> int:
        raise _refused(volume)

    async def ensure_copy(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        raise _refused(volume)

    async def ensure_imported(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        raise _refused(volume)

    async def ensure_offered(self, volume: Volume, to: str, job: str) -> None:
        raise _refused(volume)

    async def ensure_not_offered(self, volume: Volume, job: str) -> None: ...

    async def offered_to(self, volume: Volume) -> str:
        return ""

    async def ensure_brought(
        self, volume: Volume, job: str, source: Source | None, fetch: Fetch, told: Callable[[int, int], None]
    ) -> int:
        raise _refused(volume)

    async def ensure_overlay(self, volume: Volume, job: str, base: Volume) -> int:
        raise _refused(volume)

    async def ensure_merged(self, top: Volume, base: Volume, told: Callable[[int, int], None]) -> None:
        raise _refused(top)

    async def ensure_lies_on(self, volume: Volume, base: Volume) -> None:
        raise _refused(volume)

    async def ensure_flat(self, volume: Volume, told: Callable[[int, int], None]) -> None:
        raise _refused(volume)

    async def ensure_size(self, volume: Volume, size: int) -> int:
        raise _refused(volume)

    async def ensure_volume_absent(self, volume: Volume, job: str = "") -> None: ...

    async def used(self, volume: Volume) -> int:
        raise _refused(volume)

    async def volumes(self, place: Place) -> tuple[FoundVolume, ...]:
        return ()

    def attachment(self, volume: Volume) -> Attachment:
        raise _refused(volume)


def _refused(volume: Volume) -> Refused:
    return Refused("a diskless pool holds no volumes", volume.id, "choose a pool of the template file")
