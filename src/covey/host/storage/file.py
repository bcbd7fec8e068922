"""Volumes as files in a directory: qcow2 (clones are copy-on-write) or raw.

    PLACE/covey-pool                  the marker: this directory is a pool. Not there: not mounted, or not ours
    PLACE/volumes/UUID.FORMAT         a volume, always whole
    PLACE/volumes/UUID.FORMAT.tag     who made it: written before the volume, removed after it
    PLACE/volumes/.UUID.FORMAT.new    a volume in the making
    PLACE/volumes/UUID.FORMAT.part    of what that is a part, and how much of it is there: of one that comes from another node
    PLACE/volumes/UUID.FORMAT.offer   which node may fetch the volume, and by which job

A kill at any moment leaves a tag without a volume, perhaps with a file in the making: the next ensure starts that one
anew.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from covey.base.errors import BadInput, NotFound, Refused, StepFailed, Unavailable, check
from covey.base.files import remove_durably, sync_directory, write_durably
from covey.base.units import humane_size
from covey.host.formats import LARGEST_QCOW2, find_backing, find_size, round_up
from covey.host.storage import qcow2
from covey.host.storage.bring import bring
from covey.host.storage.looks import Looks
from covey.host.storage.protocol import Attachment, Fetch, Source
from covey.host.storage.tool import image_tool, no_space, space, told_apart, tool
from covey.host.threads import in_thread
from covey.model.names import check_path, check_uuid
from covey.model.pool import CAPABILITIES, Capability, FoundVolume, Place, Space, Volume

MARKER = "covey-pool"
SLOWEST_COPY = 4 * 2**20  # bytes a second: a copy that is slower has hung
_VOLUME_FILE = re.compile(
    r"(?P<hidden>\.?)(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<format>qcow2|raw)(?:\.(?P<part>new|(?:tag|part|offer)(?:\.new)?))?"
)


class FileStorage:
    """The template `file`. `owner` is the (uid, gid) that QEMU runs as; None leaves files to root."""

    def __init__(self, owner: tuple[int, int] | None = None, looks: Looks | None = None) -> None:
        self._owner = owner
        self._looks = looks or Looks()

    @property
    def capability(self) -> Capability:
        return CAPABILITIES["file"]

    async def ensure_pool(self, place: Place, job: str) -> None:
        await in_thread(_make_pool, place, job)

    async def ensure_pool_absent(self, place: Place, job: str = "") -> None:
        await in_thread(_remove_pool, place, job)

    async def space(self, place: Place) -> Space:
        return await self._looks.at(place, _measure)

    async def ensure_volume(self, volume: Volume, job: str, source: Source | None) -> int:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        if path.exists():
            _check_ours(volume, path)
            return _size(volume, path)
        if source and not source.path.exists():
            raise NotFound("the image's file is gone", source.path, "fetch the image again")
        size = _check_size(volume, max(volume.size, source.size if source else 0))
        with told_apart(volume.place, volume):
            await self._create(volume, job, path, size, source)
        return _size(volume, path)

    async def ensure_copy(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        return await self._ensure_copied(volume, job, source, qcow2.trusted(source), told)

    async def ensure_imported(self, volume: Volume, job: str, source: Attachment, told: Callable[[int, int], None]) -> int:
        return await self._ensure_copied(volume, job, source, qcow2.stranger(volume, source), told)

    async def ensure_offered(self, volume: Volume, to: str, job: str) -> None:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        check(path.exists(), NotFound("the volume does not exist", volume.id, "see: covey cluster verify"))
        _check_ours(volume, path)
        with told_apart(volume.place, volume):
            await in_thread(write_durably, _offer(path), json.dumps({"to": to, "job": job}).encode())

    async def ensure_not_offered(self, volume: Volume, job: str) -> None:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        if _read_offer(path).get("job") == job:
            with told_apart(volume.place, volume):
                await in_thread(remove_durably, _offer(path))

    async def offered_to(self, volume: Volume) -> str:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        return _read_offer(path).get("to", "") if path.exists() else ""

    async def ensure_brought(
        self, volume: Volume, job: str, source: Source | None, fetch: Fetch, told: Callable[[int, int], None]
    ) -> int:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        if path.exists():
            _check_ours(volume, path)
            return _size(volume, path)
        new = _in_the_making(path)
        with told_apart(volume.place, volume):
            await in_thread(
                write_durably, _tag(path), json.dumps({"job": job, "image": str(source.path) if source else ""}).encode()
            )
            await bring(volume, new, _memo(path), fetch, told)
            if volume.format == "raw":
                await in_thread(_allocate, new, new.stat().st_size)
            elif source:
                await qcow2.put_on(volume, new, source.path, source.format)
            await in_thread(_publish, new, path, self._owner)
            await in_thread(remove_durably, _memo(path))
        return _size(volume, path)

    async def ensure_overlay(self, volume: Volume, job: str, base: Volume) -> int:
        path, below = self._path(volume), self._path(base)
        await self._looks.at(volume.place, _check_present)
        check(
            volume.format in self.capability.snapshot_formats,
            Refused(f"a {volume.format} volume cannot lie on another", volume.id, "use qcow2"),
        )
        if path.exists():
            _check_ours(volume, path)
            return _size(volume, path)
        check(below.exists(), NotFound("the volume below it is gone", base.id, "see: covey cluster verify"))
        size = _check_size(volume, max(volume.size, _size(base, below)))
        with told_apart(volume.place, volume):
            await self._make(volume, job, path, "", lambda new: qcow2.create_above(volume, new, size, below, base.format))
        return _size(volume, path)

    async def ensure_merged(self, top: Volume, base: Volume, told: Callable[[int, int], None]) -> None:
        above, below = self._path(top), self._path(base)
        await self._looks.at(base.place, _check_present)
        for volume, path in ((top, above), (base, below)):
            check(path.exists(), NotFound("the volume does not exist", volume.id, "see: covey cluster verify"))
            _check_ours(volume, path)
        await qcow2.merge_down(top, above, below, told)
        await in_thread(_sync_file, below)

    async def ensure_lies_on(self, volume: Volume, base: Volume) -> None:
        path, below = self._path(volume), self._path(base)
        await self._looks.at(volume.place, _check_present)
        check(path.exists(), NotFound("the volume does not exist", volume.id, "see: covey cluster verify"))
        _check_ours(volume, path)
        if await in_thread(find_backing, path) != str(below):
            await qcow2.put_on(volume, path, below, base.format)
            await in_thread(_sync_file, path)

    async def ensure_flat(self, volume: Volume, told: Callable[[int, int], None]) -> None:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        check(path.exists(), NotFound("the volume does not exist", volume.id, "see: covey cluster verify"))
        _check_ours(volume, path)
        if volume.format == "qcow2" and await in_thread(find_backing, path) != "":
            await qcow2.take_in(volume, path, told)
            await in_thread(_sync_file, path)

    async def ensure_size(self, volume: Volume, size: int) -> int:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        check(path.exists(), NotFound("the volume does not exist", volume.id))
        _check_ours(volume, path)
        if size > _size(volume, path):
            wanted = _check_size(volume, size)
            if volume.format == "qcow2":
                await image_tool(volume, ("resize", "-q", "-f", volume.format, str(path), str(wanted)))
            with told_apart(volume.place, volume):
                if volume.format == "raw":
                    await in_thread(_allocate, path, wanted)
                await in_thread(_sync_file, path)
        return _size(volume, path)

    async def ensure_volume_absent(self, volume: Volume, job: str = "") -> None:
        path = self._path(volume)
        await self._looks.at(volume.place, _check_present)
        tag = _read_job(path)
        if job and tag != job:
            return
        check(
            tag is not None or not path.exists(),
            Refused("the file in the volume's place is not Covey's", path, "look at it and move it away"),
        )
        with told_apart(volume.place, volume):
            await in_thread(_remove, path)

    async def used(self, volume: Volume) -> int:
        path = self._path(volume)
        _check_present(volume.place)
        check(path.exists(), NotFound("its file is not there", f"volume {volume.id}", f"bring back {path}"))
        with told_apart(volume.place, volume):
            return await in_thread(_used, path)

    async def volumes(self, place: Place) -> tuple[FoundVolume, ...]:
        await self._looks.at(place, _check_present)
        with told_apart(place):
            return await in_thread(_list, place)

    def attachment(self, volume: Volume) -> Attachment:
        return Attachment("file", str(self._path(volume)), volume.format)

    def _path(self, volume: Volume) -> Path:
        check(
            volume.format in self.capability.formats,
            BadInput(f"{volume.format!r} is no format of a file volume", volume.id, "use qcow2 or raw"),
        )
        return _path_of(volume)

    async def _ensure_copied(
        self, volume: Volume, job: str, source: Attachment, opened: qcow2.Opened, told: Callable[[int, int], None]
    ) -> int:
        path, below = self._path(volume), Path(source.path)
        await self._looks.at(volume.place, _check_present)
        if path.exists():
            _check_ours(volume, path)
            return _size(volume, path)
        check(below.exists(), NotFound("what is to be copied is gone", below, "see: covey cluster verify"))

        async def fill(new: Path) -> None:
            await qcow2.copy_whole(volume, new, opened, told)
            if volume.format == "raw":
                await in_thread(_allocate, new, new.stat().st_size)

        with told_apart(volume.place, volume):
            await self._make(volume, job, path, "", fill)
        return _size(volume, path)

    async def _create(self, volume: Volume, job: str, path: Path, size: int, source: Source | None) -> None:
        create = _create_qcow2 if volume.format == "qcow2" else _create_raw
        await self._make(volume, job, path, str(source.path) if source else "", lambda new: create(volume, new, size, source))

    async def _make(self, volume: Volume, job: str, path: Path, image: str, fill: Callable[[Path], Awaitable[None]]) -> None:
        """The tag first; then the file under its temporary name, whole and durable, and renamed. What fails takes all of
        it away."""
        new = _in_the_making(path)
        new.unlink(missing_ok=True)
        try:
            await in_thread(write_durably, _tag(path), json.dumps({"job": job, "image": image}).encode())
            await fill(new)
            await in_thread(_publish, new, path, self._owner)
        except BaseException:
            if not path.exists():
                await in_thread(_remove, path)
            raise


async def _create_qcow2(volume: Volume, new: Path, size: int, source: Source | None) -> None:
    """An empty qcow2, or an overlay: in both cases nothing is copied, however large the image."""
    backing = ("-b", str(source.path), "-F", source.format) if source else ()
    await image_tool(volume, ("create", "-q", "-f", "qcow2", *backing, str(new), str(size)))


async def _create_raw(volume: Volume, new: Path, size: int, source: Source | None) -> None:
    """A file whose room is its own from the start: empty, or a copy of the image (shared with it where the file system can)."""
    if source is None:
        new.touch(mode=0o600)
    else:
        _check_room(volume, source.path)
        argv: tuple[str, ...] = ("cp", "--reflink=auto", "--sparse=always", "--", str(source.path), str(new))
        if source.format != "raw":
            argv = ("qemu-img", "convert", "-q", "-f", source.format, "-O", "raw", str(source.path), str(new))
        await tool(volume, argv, timeout_s=60 + source.size / SLOWEST_COPY)
    await in_thread(_allocate, new, max(size, new.stat().st_size))


def _allocate(path: Path, size: int) -> None:
    """Give the file `size` bytes of its disk, holes included; what is in it stays. Takes the file system no time (fallocate(2))."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _make_pool(place: Place, job: str) -> None:
    directory = Path(check_path(place.path, "pool"))
    with told_apart(place):
        if not (directory / MARKER).exists():
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            check(
                not _foreign_content(directory),
                Refused("the directory holds files that are not Covey's", place.path, "name an empty directory"),
            )
            write_durably(directory / MARKER, json.dumps({"job": job}).encode())
            sync_directory(directory.parent)
        check(os.access(directory, os.W_OK), Unavailable("the file system is read-only", place.path, "remount it"))
        _volumes_of(place).mkdir(mode=0o711, exist_ok=True)
        for made in (directory, _volumes_of(place)):
            made.chmod(0o711)  # QEMU must get through, whatever the umask was; nobody needs to list
        sync_directory(directory)


def _remove_pool(place: Place, job: str) -> None:
    directory = Path(check_path(place.path, "pool"))
    if not (directory / MARKER).exists():
        return
    with told_apart(place):
        if job and json.loads((directory / MARKER).read_text())["job"] != job:
            return
        volumes = _volumes_of(place)
        if volumes.exists():
            _clear(place, volumes)
        remove_durably(directory / MARKER)
        try:
            directory.rmdir()
        except OSError as error:
            # Somebody's mount point, or not empty (lost+found): what is left is not Covey's.
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise


def _path_of(volume: Volume) -> Path:
    return _volumes_of(volume.place) / f"{check_uuid(volume.id, 'volume')}.{volume.format}"


def _volumes_of(place: Place) -> Path:
    return Path(check_path(place.path, "pool")) / "volumes"


def _tag(path: Path) -> Path:
    return path.with_name(f"{path.name}.tag")


def _memo(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _offer(path: Path) -> Path:
    return path.with_name(f"{path.name}.offer")


def _read_offer(path: Path) -> dict[str, str]:
    try:
        offer: dict[str, str] = json.loads(_offer(path).read_bytes())
    except FileNotFoundError:
        return {}
    return offer


def _in_the_making(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _publish(new: Path, path: Path, owner: tuple[int, int] | None) -> None:
    """Give a finished file its owner and, once it is durable, its name."""
    new.chmod(0o600)
    if owner:
        os.chown(new, *owner)
    _sync_file(new)
    new.rename(path)
    sync_directory(path.parent)


def _remove(path: Path) -> None:
    """Remove a volume and its debris; the tag last, so that a kill leaves nothing without one."""
    _in_the_making(path).unlink(missing_ok=True)
    for beside in (_memo(path), _offer(path), _tag(path)):
        _in_the_making(beside).unlink(missing_ok=True)
    _memo(path).unlink(missing_ok=True)
    _offer(path).unlink(missing_ok=True)
    remove_durably(path)
    remove_durably(_tag(path))


def _read_job(path: Path) -> str | None:
    """The job in a volume's tag; None when there is no tag."""
    try:
        return str(json.loads(_tag(path).read_bytes())["job"])
    except FileNotFoundError:
        return None


def _check_present(place: Place) -> None:
    check(
        (Path(check_path(place.path, "pool")) / MARKER).exists() and _volumes_of(place).is_dir(),
        Unavailable("the pool's directory is gone or not mounted", place.path, f"mount it; it must hold {MARKER}"),
    )


def _check_ours(volume: Volume, path: Path) -> None:
    check(
        _read_job(path) is not None and path.is_file() and not path.is_symlink(),
        Refused(f"{path} is there, but Covey did not make it", volume.id, "look at it and move it away"),
    )


def _check_size(volume: Volume, size: int) -> int:
    """The size rounded up to whole sectors. Raises BadInput."""
    check(size > 0, BadInput("a volume needs a size", volume.id, "give at least 1 byte, better 1 MiB"))
    check(
        volume.format != "qcow2" or size <= LARGEST_QCOW2,
        BadInput(f"{humane_size(size)} is more than a qcow2 holds", volume.id, f"at most {humane_size(LARGEST_QCOW2)}"),
    )
    check(size < 2**63 - 512, BadInput("no file can be that large", volume.id, "give a smaller size"))
    return round_up(size)


def _check_room(volume: Volume, source: Path) -> None:
    """A copy that cannot end is not begun; a file system that shares blocks needs none of this room, but it may
    soon."""
    needed = source.stat().st_blocks * 512
    if space(volume.place).free < needed:
        raise no_space(volume.place, volume, needed)


def _size(volume: Volume, path: Path) -> int:
    try:
        return find_size(path, volume.format)
    except ValueError as error:
        raise StepFailed("the volume's file is damaged: it has no qcow2 header", path, "restore it") from error


def _list(place: Place) -> tuple[FoundVolume, ...]:
    names = {entry.name for entry in os.scandir(_volumes_of(place))}
    matches = (_VOLUME_FILE.fullmatch(name) for name in names)
    wanted = sorted({(match["id"], match["format"]) for match in matches if match})
    found = (_find(Volume(id, place, format, 0)) for id, format in wanted)
    return tuple(volume for volume in found if volume)


def _find(volume: Volume) -> FoundVolume | None:
    """A volume as it lies there; size 0 when it is not finished (or damaged). None when it went away meanwhile."""
    path = _path_of(volume)
    used = 0
    seen = False
    for part in (path, _in_the_making(path)):
        try:
            used += _used(part)
            seen = True
        except FileNotFoundError:
            pass  # in the making, or made: one of both
    job = _read_job(path)
    try:
        size = find_size(path, volume.format)
    except (FileNotFoundError, ValueError):
        size = 0
    if not seen and job is None:
        return None
    return FoundVolume(volume.id, volume.place, volume.format, size, used, job or "", _base(path))


def _base(path: Path) -> str:
    """The volume that a volume lies on; "" for none, and for an image."""
    try:
        below = Path(find_backing(path)) if path.suffix == ".qcow2" else Path()
    except FileNotFoundError:
        return ""
    return below.stem if below.parent == path.parent else ""


def _used(path: Path) -> int:
    return path.stat().st_blocks * 512


def _foreign_content(directory: Path) -> list[str]:
    own = {"lost+found", f".{MARKER}.new"}  # of a fresh file system; of an ensure that was killed
    return sorted(entry.name for entry in os.scandir(directory) if entry.name not in own)


def _clear(place: Place, volumes: Path) -> None:
    """Remove the emptied directory of volumes with its debris. Raises Refused while it holds a volume or something
    foreign."""
    left = sorted(entry.name for entry in os.scandir(volumes))
    for name in left:
        match = _VOLUME_FILE.fullmatch(name)
        check(
            match and match["part"],
            Refused(f"the pool still holds {len(left)} files, such as {name}", place.path, "move or remove them first"),
        )
    for name in left:
        (volumes / name).unlink()
    volumes.rmdir()


def _measure(place: Place) -> Space:
    _check_present(place)
    with told_apart(place):
        return space(place)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
