"""What every storage template does for one machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covey.host.export.parts import Parts
from covey.model.pool import Capability, FoundVolume, Place, Space, Volume

Fetch = Callable[[int], AbstractAsyncContextManager[Parts]]  # what a volume elsewhere holds, from so many bytes of its data on


@dataclass(frozen=True, slots=True)
class Attachment:
    """How QEMU opens a volume: `kind` is libvirt's disk type (file, block)."""

    kind: str
    path: str
    format: str


@dataclass(frozen=True, slots=True)
class Source:
    """The image file that a new volume is a clone of."""

    path: Path
    format: str
    size: int  # bytes that a guest sees


class Storage(Protocol):
    """One template's driver. All `ensure_` calls may be repeated, and finish what a killed call left half done."""

    @property
    def capability(self) -> Capability: ...

    async def ensure_pool(self, place: Place, job: str) -> None:
        """The place exists, is writable, and belongs to Covey. Raises Refused for a place with foreign content,
        Unavailable when it cannot be made."""
        ...

    async def ensure_pool_absent(self, place: Place, job: str = "") -> None:
        """Nothing of Covey's is left in the place; with `job`, only if that job made it (P4). Raises Refused while it holds volumes."""
        ...

    async def space(self, place: Place) -> Space:
        """Raises Unavailable when the place is gone (not mounted, removed)."""
        ...

    async def ensure_volume(self, volume: Volume, job: str, source: Source | None) -> int:
        """The volume exists with at least its size, empty or a clone of `source`, tagged with `job` (P4). Returns its
        real size in bytes, which may be rounded up. A volume made before (same id, any job) is left as it is. Raises
        NotFound when the source's file is gone, NoSpace, Refused for a foreign file in its place."""
        ...

    async def ensure_copy(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        """The volume exists and shows what `source` shows, which nobody writes to meanwhile, and lies on nothing; tagged with `job`.
        `told` hears of what is done of how much. Returns its real size. Raises NotFound when the source is gone, NoSpace, Refused for a
        foreign file in its place."""
        ...

    async def ensure_imported(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        """As `ensure_copy`, of a file that a stranger wrote: it is opened as its format and alone, and under limits."""
        ...

    async def ensure_offered(self, volume: Volume, to: str, job: str) -> None:
        """The node with this id may fetch the volume, and no other; for as long as the volume is there. Raises NotFound."""
        ...

    async def ensure_not_offered(self, volume: Volume, job: str) -> None:
        """What this job offered of the volume may be fetched by nobody."""
        ...

    async def offered_to(self, volume: Volume) -> str:
        """The id of the node that may fetch the volume; "" when none may, or it is not there."""
        ...

    async def ensure_brought(
        self, volume: Volume, job: str, source: Source | None, fetch: Fetch, told: Callable[[int, int], None]
    ) -> int:
        """The volume exists and shows what `fetch` brings, laid on `source` if there is one; tagged with `job`. What is cut off goes on
        where it stopped, by the next call at the latest. `told` hears of what is done of how much. Returns its real size. Raises NoSpace,
        Unavailable when nothing comes any more, Refused for a foreign file in its place."""
        ...

    async def ensure_overlay(self, volume: Volume, job: str, base: Volume) -> int:
        """The volume exists and lies on `base`, which a guest may have open: empty when it is made, tagged with `job`. Returns its real
        size. Raises NotFound when the base is gone, NoSpace, Refused for a foreign file in its place or a format that cannot."""
        ...

    async def ensure_merged(self, top: Volume, base: Volume, told: Callable[[int, int], None]) -> None:
        """`base` holds what `top`, which lies on it, shows; no guest has either open. `top` shows the same at every moment until it is
        removed. `told` hears of what is done of how much. Raises NotFound, NoSpace."""
        ...

    async def ensure_lies_on(self, volume: Volume, base: Volume) -> None:
        """The volume, closed by its guest, lies on `base`, which shows what it lay on before. Raises NotFound."""
        ...

    async def ensure_flat(self, volume: Volume, told: Callable[[int, int], None]) -> None:
        """The volume, closed by its guest, lies on nothing and shows what it showed, at every moment meanwhile too. `told` hears of what
        is done of how much. Raises NotFound, NoSpace."""
        ...

    async def ensure_size(self, volume: Volume, size: int) -> int:
        """The volume, closed by its guest, has at least `size` bytes; never shrinks. Returns the real size.
        Raises NotFound, NoSpace."""
        ...

    async def ensure_volume_absent(self, volume: Volume, job: str = "") -> None:
        """The volume is gone. With `job`, only if it carries that job's tag (an undo takes back only its own, P4)."""
        ...

    async def used(self, volume: Volume) -> int:
        """Bytes that the volume takes on the machine. Raises NotFound when it is not there, Unavailable when its place is gone."""
        ...

    async def volumes(self, place: Place) -> tuple[FoundVolume, ...]:
        """All volumes in the place, and files that look like ones. Raises Unavailable when the place is gone."""
        ...

    def attachment(self, volume: Volume) -> Attachment: ...
