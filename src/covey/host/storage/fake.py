"""Storage that only pretends, for tests without disks: the same answers as `file`, from a shelf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable, check
from covey.base.units import humane_size
from covey.host.formats import LARGEST_QCOW2, round_up
from covey.host.shelf import Shelf, Thing
from covey.host.storage.protocol import Attachment, Fetch, Source
from covey.model.names import check_path, check_uuid
from covey.model.pool import CAPABILITIES, Capability, FoundVolume, Place, Space, Volume

DEFAULT_CAPACITY = 2**40
LARGEST_RAW = 2**44  # ext4's largest file, so that the fake has the limit that most real pools have
NOTHING: Mapping[str, int] = MappingProxyType({})


def file_key(path: Path) -> str:
    """Where a fake image tells a fake storage, on the same shelf, that a file is there."""
    return f"file:{path}"


def upload_key(path: str) -> str:
    """Where a fake upload tells a fake storage, on the same shelf, what was sent."""
    return f"upload:{path}"


def grow_open_volume(shelf: Shelf, volume: Volume, size: int) -> None:
    """What a pretended QEMU does to the file of a disk that it has open: it grows, whatever room there is. A volume that is not there is
    left so."""
    present = shelf.get(_volume_key(volume))
    if present and present["size"] < size:
        shelf.put(_volume_key(volume), {**present, "size": size})


def flatten_open_volume(shelf: Shelf, volume: Volume) -> None:
    """What a pretended QEMU does to the file of a disk that it has open: it lies on nothing."""
    present = shelf.get(_volume_key(volume))
    if present:
        shelf.put(_volume_key(volume), {**present, "base": ""})


class FakeStorage:
    """Each volume takes its full size at once, as if a guest had written every byte: a pool of `capacity` bytes (by
    path; 1 TiB unless told) fills up predictably."""

    def __init__(self, shelf: Shelf, capacity: Mapping[str, int] = NOTHING) -> None:
        self._shelf = shelf
        self._capacity = capacity

    @property
    def capability(self) -> Capability:
        return CAPABILITIES["file"]

    async def ensure_pool(self, place: Place, job: str) -> None:
        check_path(place.path, "pool")
        check(
            self._shelf.get(_foreign_key(place)) is None,
            Refused("the directory holds files that are not Covey's", place.path, "name an empty directory"),
        )
        if self._shelf.get(pool_key(place)) is None:
            self._shelf.put(pool_key(place), {"job": job})

    async def ensure_pool_absent(self, place: Place, job: str = "") -> None:
        made = self._shelf.get(pool_key(place))
        if made is None or (job and made["job"] != job):
            return
        held = self._shelf.items(_volumes_key(place))
        check(
            not held,
            Refused(f"the pool still holds {len(held)} files", place.path, "move or remove them first"),
        )
        self._shelf.delete(pool_key(place))

    async def space(self, place: Place) -> Space:
        self._check_present(place)
        size = self._capacity.get(place.path, DEFAULT_CAPACITY)
        used = sum(int(thing["size"]) for _, thing in self._shelf.items(_volumes_key(place)))
        return Space(size, max(0, size - used))

    async def ensure_volume(self, volume: Volume, job: str, source: Source | None) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        if (present := self._shelf.get(key)) is not None:
            _check_ours(volume, present)
            return int(present["size"])
        check(
            source is None or self._shelf.get(file_key(source.path)) is not None or source.path.exists(),
            NotFound("the image's file is gone", source.path if source else "", "fetch the image again"),
        )
        size = _check_size(volume, max(volume.size, source.size if source else 0))
        await self._check_room(volume, size)
        image = str(source.path) if source else ""
        self._shelf.put(key, {"job": job, "size": size, "image": image, "format": volume.format, "id": volume.id})
        return size

    async def ensure_copy(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        if (present := self._shelf.get(key)) is not None:
            _check_ours(volume, present)
            return int(present["size"])
        below = next((thing for _, thing in self._shelf.items("volume:") if thing["id"] == Path(source.path).stem), None)
        if below is None:
            raise NotFound("what is to be copied is gone", source.path, "see: covey cluster verify")
        size = _check_size(volume, max(volume.size, int(below["size"])))
        await self._check_room(volume, size)
        made = {"job": job, "size": size, "image": below["image"], "format": volume.format, "id": volume.id}
        self._shelf.put(key, made)
        told(size, size)
        return size

    async def ensure_imported(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        if (present := self._shelf.get(key)) is not None:
            _check_ours(volume, present)
            return int(present["size"])
        sent = self._shelf.get(upload_key(source.path))
        if sent is None:
            raise NotFound("what is to be copied is gone", source.path, "see: covey cluster verify")
        size = _check_size(volume, int(sent["size"]))
        await self._check_room(volume, size)
        self._shelf.put(key, {"job": job, "size": size, "image": "", "format": volume.format, "id": volume.id})
        told(size, size)
        return size

    async def ensure_offered(self, volume: Volume, to: str, job: str) -> None:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume))
        if present is None:
            raise NotFound("the volume does not exist", volume.id, "see: covey cluster verify")
        self._shelf.put(_volume_key(volume), {**present, "offer": {"to": to, "job": job}})

    async def ensure_not_offered(self, volume: Volume, job: str) -> None:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume))
        if present and present.get("offer", {}).get("job") == job:
            self._shelf.put(_volume_key(volume), {key: value for key, value in present.items() if key != "offer"})

    async def offered_to(self, volume: Volume) -> str:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume)) or {}
        return str(present.get("offer", {}).get("to", ""))

    async def ensure_brought(
        self, volume: Volume, job: str, source: Source | None, fetch: Fetch, told: Callable[[int, int], None]
    ) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        if (present := self._shelf.get(key)) is not None:
            _check_ours(volume, present)
            return int(present["size"])
        done = 0
        async with fetch(0) as parts:
            async for piece in parts.pieces:
                done += len(piece)
                told(done, parts.map.length)
            size = _check_size(volume, parts.map.size)
        await self._check_room(volume, size)
        image = str(source.path) if source else ""
        self._shelf.put(key, {"job": job, "size": size, "image": image, "format": volume.format, "id": volume.id})
        return size

    async def ensure_overlay(self, volume: Volume, job: str, base: Volume) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        check(
            volume.format in self.capability.snapshot_formats,
            Refused(f"a {volume.format} volume cannot lie on another", volume.id, "use qcow2"),
        )
        if (present := self._shelf.get(key)) is not None:
            _check_ours(volume, present)
            return int(present["size"])
        below = self._shelf.get(_volume_key(base))
        if below is None:
            raise NotFound("the volume below it is gone", base.id, "see: covey cluster verify")
        size = _check_size(volume, max(volume.size, int(below["size"])))
        await self._check_room(volume, size)
        made = {"job": job, "size": size, "image": below["image"], "format": volume.format, "id": volume.id, "base": base.id}
        self._shelf.put(key, made)
        return size

    async def ensure_merged(self, top: Volume, base: Volume, told: Callable[[int, int], None]) -> None:
        self._check_present(base.place)
        above, below = (self._shelf.get(_volume_key(volume)) for volume in (top, base))
        if above is None or below is None:
            raise NotFound("the volume does not exist", top.id if above is None else base.id, "see: covey cluster verify")
        _check_ours(top, above)
        _check_ours(base, below)
        check(
            above.get("base") == base.id,
            Refused(f"it lies on {above.get('base')}, not on {base.id}", f"volume {top.id}", "see: covey cluster verify"),
        )
        if below["size"] < above["size"]:
            self._shelf.put(_volume_key(base), {**below, "size": above["size"]})
        told(int(above["size"]), int(above["size"]))

    async def ensure_lies_on(self, volume: Volume, base: Volume) -> None:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume))
        if present is None:
            raise NotFound("the volume does not exist", volume.id, "see: covey cluster verify")
        _check_ours(volume, present)
        if present.get("base") != base.id:
            self._shelf.put(_volume_key(volume), {**present, "base": base.id})

    async def ensure_flat(self, volume: Volume, told: Callable[[int, int], None]) -> None:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume))
        if present is None:
            raise NotFound("the volume does not exist", volume.id, "see: covey cluster verify")
        _check_ours(volume, present)
        if present.get("base"):
            flatten_open_volume(self._shelf, volume)
            told(int(present["size"]), int(present["size"]))

    async def ensure_size(self, volume: Volume, size: int) -> int:
        key = _volume_key(volume)
        self._check_present(volume.place)
        present = self._shelf.get(key)
        if present is None:
            raise NotFound("the volume does not exist", volume.id)
        _check_ours(volume, present)
        if size > present["size"]:
            grown = _check_size(volume, size)
            await self._check_room(volume, grown - int(present["size"]))
            present = {**present, "size": grown}
            self._shelf.put(key, present)
        return int(present["size"])

    async def ensure_volume_absent(self, volume: Volume, job: str = "") -> None:
        key = _volume_key(volume)
        self._check_present(volume.place)
        present = self._shelf.get(key)
        if present is None or (job and present["job"] != job):
            return
        check(
            present["job"],
            Refused("the file in the volume's place is not Covey's", volume.id, "look at it and move it away"),
        )
        self._shelf.delete(key)

    async def used(self, volume: Volume) -> int:
        self._check_present(volume.place)
        present = self._shelf.get(_volume_key(volume))
        if present is None:
            raise NotFound("its file is not there", f"volume {volume.id}", "bring it back")
        return int(present["size"])

    async def volumes(self, place: Place) -> tuple[FoundVolume, ...]:
        self._check_present(place)
        return tuple(
            FoundVolume(thing["id"], place, thing["format"], thing["size"], thing["size"], thing["job"], thing.get("base", ""))
            for _, thing in self._shelf.items(_volumes_key(place))
        )

    def attachment(self, volume: Volume) -> Attachment:
        return Attachment("file", f"{volume.place.path}/volumes/{volume.id}.{volume.format}", volume.format)

    def lay_foreign_file(self, volume: Volume) -> None:
        """For tests: a file that Covey did not make lies under the volume's name."""
        thing: Thing = {"job": "", "size": volume.size, "image": "", "format": volume.format, "id": volume.id}
        self._shelf.put(_volume_key(volume), thing)

    def lay_foreign_directory(self, place: Place) -> None:
        """For tests: the place is a directory with content that is not Covey's."""
        self._shelf.put(_foreign_key(place), {})

    def unmount(self, place: Place) -> None:
        """For tests: the place is gone from view, as when its file system is not mounted."""
        self._shelf.delete(pool_key(place))

    def _check_present(self, place: Place) -> None:
        check(
            self._shelf.get(pool_key(place)) is not None,
            Unavailable("the pool's directory is gone or not mounted", place.path, "mount it"),
        )

    async def _check_room(self, volume: Volume, more: int) -> None:
        free = (await self.space(volume.place)).free
        check(
            more <= free,
            NoSpace(
                f"no space for volume {volume.id}: {humane_size(free)} free, at least {humane_size(more - free)} missing",
                volume.place.path,
                "free some, or use another pool",
            ),
        )


def _check_size(volume: Volume, size: int) -> int:
    largest = LARGEST_QCOW2 if volume.format == "qcow2" else LARGEST_RAW
    check(size > 0, BadInput("a volume needs a size", volume.id, "give at least 1 byte, better 1 MiB"))
    check(
        size <= largest,
        BadInput(f"{humane_size(size)} is too large for {volume.format}", volume.id, f"at most {humane_size(largest)}"),
    )
    return round_up(size)


def _check_ours(volume: Volume, present: Thing) -> None:
    check(
        present["job"],
        Refused("the file in the volume's place is there, but Covey did not make it", volume.id, "move it away"),
    )


def pool_key(place: Place) -> str:
    return f"pool:{place.path}"


def _foreign_key(place: Place) -> str:
    return f"foreign:{place.path}"


def _volumes_key(place: Place) -> str:
    return f"volume:{place.path}:"


def _volume_key(volume: Volume) -> str:
    check(
        volume.format in CAPABILITIES["file"].formats,
        BadInput(f"{volume.format!r} is no format of a file volume", volume.id, "use qcow2 or raw"),
    )
    return f"{_volumes_key(volume.place)}{check_uuid(volume.id, 'volume')}.{volume.format}"
