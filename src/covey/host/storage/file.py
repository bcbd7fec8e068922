"""Volumes as files in a directory: qcow2 (clones are copy-on-write) or raw.

    PLACE/covey-pool                  the marker: this directory is a pool. Not there: not mounted, or not ours
    PLACE/volumes/UUID.FORMAT         a volume, always whole
    PLACE/volumes/UUID.FORMAT.tag     who made it: written before the volume, removed after it
    PLACE/volumes/.UUID.FORMAT.new    a volume in the making

A kill at any moment leaves a tag without a volume, perhaps with a file in the making: the next ensure starts that one
anew.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey.base.errors import BadInput, CoveyError, NoSpace, NotFound, Refused, StepFailed, Unavailable, check
from covey.base.files import remove_durably, sync_directory, write_durably
from covey.base.run import explain, run
from covey.base.units import humane_size
from covey.host.faults import FULL
from covey.host.formats import LARGEST_QCOW2, find_size, round_up
from covey.host.storage.protocol import Attachment, Source
from covey.host.threads import in_thread
from covey.model.names import check_path, check_uuid
from covey.model.pool import CAPABILITIES, Capability, FoundVolume, Place, Space, Volume

MARKER = "covey-pool"
SLOWEST_COPY = 4 * 2**20  # bytes a second: a copy that is slower has hung
_NOT_INSTALLED = 127  # setpriv(1): the status when it cannot execute the command
_VOLUME_FILE = re.compile(
    r"(?P<hidden>\.?)(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<format>qcow2|raw)(?:\.(?P<part>tag|new|tag\.new))?"
)


class FileStorage:
    """The template `file`. `owner` is the (uid, gid) that QEMU runs as; None leaves files to root."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        self._owner = owner

    @property
    def capability(self) -> Capability:
        return CAPABILITIES["file"]

    async def ensure_pool(self, place: Place, job: str) -> None:
        await in_thread(_make_pool, place, job)

    async def ensure_pool_absent(self, place: Place, job: str = "") -> None:
        await in_thread(_remove_pool, place, job)

    async def space(self, place: Place) -> Space:
        _check_present(place)
        with _told_apart(place):
            return await in_thread(_space, place)

    async def ensure_volume(self, volume: Volume, job: str, source: Source | None) -> int:
        path = self._path(volume)
        _check_present(volume.place)
        if path.exists():
            _check_ours(volume, path)
            return _size(volume, path)
        if source and not source.path.exists():
            raise NotFound("the image's file is gone", source.path, "fetch the image again")
        size = _check_size(volume, max(volume.size, source.size if source else 0))
        with _told_apart(volume.place, volume):
            await self._create(volume, job, path, size, source)
        return _size(volume, path)

    async def ensure_size(self, volume: Volume, size: int) -> int:
        path = self._path(volume)
        _check_present(volume.place)
        check(path.exists(), NotFound("the volume does not exist", volume.id))
        _check_ours(volume, path)
        if size > _size(volume, path):
            wanted = _check_size(volume, size)
            if volume.format == "qcow2":
                await _image_tool(volume, ("resize", "-q", "-f", volume.format, str(path), str(wanted)))
            with _told_apart(volume.place, volume):
                if volume.format == "raw":
                    await in_thread(_allocate, path, wanted)
                await in_thread(_sync_file, path)
        return _size(volume, path)

    async def ensure_volume_absent(self, volume: Volume, job: str = "") -> None:
        path = self._path(volume)
        _check_present(volume.place)
        tag = _read_job(path)
        if job and tag != job:
            return
        check(
            tag is not None or not path.exists(),
            Refused("the file in the volume's place is not Covey's", path, "look at it and move it away"),
        )
        with _told_apart(volume.place, volume):
            await in_thread(_remove, path)

    async def volumes(self, place: Place) -> tuple[FoundVolume, ...]:
        _check_present(place)
        with _told_apart(place):
            return await in_thread(_list, place)

    def attachment(self, volume: Volume) -> Attachment:
        return Attachment("file", str(self._path(volume)), volume.format)

    def _path(self, volume: Volume) -> Path:
        check(
            volume.format in self.capability.formats,
            BadInput(f"{volume.format!r} is no format of a file volume", volume.id, "use qcow2 or raw"),
        )
        return _path_of(volume)

    async def _create(self, volume: Volume, job: str, path: Path, size: int, source: Source | None) -> None:
        """The tag first; then the file under its temporary name, whole and durable, and renamed. What fails takes all of
        it away."""
        new = _in_the_making(path)
        new.unlink(missing_ok=True)
        try:
            tag = {"job": job, "image": str(source.path) if source else ""}
            await in_thread(write_durably, _tag(path), json.dumps(tag).encode())
            if volume.format == "qcow2":
                await _create_qcow2(volume, new, size, source)
            else:
                await _create_raw(volume, new, size, source)
            await in_thread(_publish, new, path, self._owner)
        except BaseException:
            if not path.exists():
                await in_thread(_remove, path)
            raise


async def _create_qcow2(volume: Volume, new: Path, size: int, source: Source | None) -> None:
    """An empty qcow2, or an overlay: in both cases nothing is copied, however large the image."""
    backing = ("-b", str(source.path), "-F", source.format) if source else ()
    await _image_tool(volume, ("create", "-q", "-f", "qcow2", *backing, str(new), str(size)))


async def _create_raw(volume: Volume, new: Path, size: int, source: Source | None) -> None:
    """A file whose room is its own from the start: empty, or a copy of the image (shared with it where the file system can)."""
    if source is None:
        new.touch(mode=0o600)
    else:
        _check_room(volume, source.path)
        argv: tuple[str, ...] = ("cp", "--reflink=auto", "--sparse=always", "--", str(source.path), str(new))
        if source.format != "raw":
            argv = ("qemu-img", "convert", "-q", "-f", source.format, "-O", "raw", str(source.path), str(new))
        await _tool(volume, argv, timeout_s=60 + source.size / SLOWEST_COPY)
    await in_thread(_allocate, new, max(size, new.stat().st_size))


def _allocate(path: Path, size: int) -> None:
    """Give the file `size` bytes of its disk, holes included; what is in it stays. Takes the file system no time (fallocate(2))."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


async def _image_tool(volume: Volume, arguments: tuple[str, ...]) -> None:
    await _tool(volume, ("qemu-img", *arguments), timeout_s=60)


async def _tool(volume: Volume, argv: tuple[str, ...], timeout_s: float) -> None:
    """Run a tool and tell the ways apart in which it fails for the disk's sake. It dies with this process: a copy that
    goes on by itself would write to a file that the next ensure begins anew."""
    mortal = ("setpriv", "--pdeathsig", "KILL", *argv)
    done = await run(mortal, timeout_s=timeout_s, check=False, object=volume.id, hint="install util-linux")
    said = done.stderr.decode(errors="replace")
    if done.status == 0:
        return
    if done.status == _NOT_INSTALLED:
        raise Unavailable(f"the program {argv[0]} is not installed", volume.id, "install qemu-utils")
    if any(os.strerror(number) in said for number in FULL):
        raise _no_space(volume.place, volume)
    if os.strerror(errno.EFBIG) in said:
        raise _too_large(volume.place, volume)
    if 'Failed to get "write" lock' in said or "Failed to get shared" in said:
        raise Refused("the volume is open in a running guest", volume.id, "grow it through the guest, or stop the guest")
    raise StepFailed(explain(argv, done.status, done.stderr), volume.id)


def _make_pool(place: Place, job: str) -> None:
    directory = Path(check_path(place.path, "pool"))
    with _told_apart(place):
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
    with _told_apart(place):
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
    _in_the_making(_tag(path)).unlink(missing_ok=True)
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
    if _space(volume.place).free < needed:
        raise _no_space(volume.place, volume, needed)


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
            used += part.stat().st_blocks * 512
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
    return FoundVolume(volume.id, volume.place, volume.format, size, used, job or "")


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


def _space(place: Place) -> Space:
    """What the file system has for those who are not root: QEMU is not."""
    status = os.statvfs(place.path)
    return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_apart(place: Place, volume: Volume | None = None) -> Iterator[None]:
    """Turn what the file system says into our errors: full, too large for it, or out of order."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _no_space(place, volume) from error
        if error.errno in (errno.EFBIG, errno.EINVAL) and volume:
            raise _too_large(place, volume) from error
        raise Unavailable(f"the file system answers: {error}", place.path, "look at its mount and at the kernel's log") from error


def _no_space(place: Place, volume: Volume | None, needed: int = 0) -> CoveyError:
    free = _space(place).free
    missing = humane_size(max(needed - free, 4096))
    what = f"no space for volume {volume.id}" if volume else "no space"
    return NoSpace(f"{what}: {humane_size(free)} free, at least {missing} missing", place.path, "free some, or use another pool")


def _too_large(place: Place, volume: Volume) -> CoveyError:
    return BadInput(
        f"{humane_size(volume.size)} is more than a file may have on the file system of {place.path}",
        volume.id,
        "give a smaller size, or use qcow2 or a pool on XFS",
    )
