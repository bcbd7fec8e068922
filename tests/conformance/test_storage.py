"""One suite for every storage template: each sentence of host/storage/protocol.py is a claim here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable
from covey.base.run import run
from covey.host.shelf import FileShelf
from covey.host.storage.diskless import DisklessStorage
from covey.host.storage.fake import FakeStorage
from covey.host.storage.file import MARKER, FileStorage
from covey.host.storage.protocol import Source, Storage
from covey.model.pool import CAPABILITIES, Place, Volume

MIB = 2**20
ID = "5f0a3c1e-0000-4000-8000-000000000001"
OTHER = "5f0a3c1e-0000-4000-8000-000000000002"
IMAGE_BYTES = b"the first sector of a golden image".ljust(512, b".")


class Bench(Protocol):
    """A template on the test bench: the driver, and hands to do to its world what no protocol offers."""

    storage: Storage
    place: Place
    format: str

    def image(self, format: str) -> Source: ...
    def first_bytes(self, volume: Volume) -> bytes: ...
    def lay_foreign_file(self, volume: Volume) -> None: ...
    def lay_foreign_directory(self) -> None: ...
    def unmount(self) -> None: ...
    def leave_half_made(self, volume: Volume, job: str) -> None: ...
    def narrow(self) -> None:
        """Make the place hold 8 MiB in all."""
        ...

    def fill(self, volume: Volume) -> None:
        """Take all the room in the place."""
        ...

    def make_room(self) -> None: ...
    def close(self) -> None: ...


class FileBench:
    def __init__(self, directory: Path, format: str) -> None:
        self.storage: Storage = FileStorage()
        self.place = Place("file", str(directory / "pool"))
        self.format = format
        self._directory = directory
        self._mounted = False

    def image(self, format: str) -> Source:
        raw = self._directory / "image.raw"
        raw.write_bytes(IMAGE_BYTES)
        os.truncate(raw, 4 * MIB)
        if format == "raw":
            return Source(raw, "raw", 4 * MIB)
        path = self._directory / "image.qcow2"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        return Source(path, "qcow2", 4 * MIB)

    def first_bytes(self, volume: Volume) -> bytes:
        out = self._directory / "read"
        path = self.storage.attachment(volume).path
        argv = ["qemu-img", "dd", "-f", volume.format, "-O", "raw", "bs=512", "count=1", f"if={path}", f"of={out}"]
        subprocess.run(argv, check=True)
        return out.read_bytes()

    def lay_foreign_file(self, volume: Volume) -> None:
        Path(self.storage.attachment(volume).path).write_bytes(b"somebody's only copy".ljust(512, b"!"))

    def lay_foreign_directory(self) -> None:
        Path(self.place.path).mkdir()
        (Path(self.place.path) / "holiday.jpg").write_bytes(b"")

    def unmount(self) -> None:
        (Path(self.place.path) / MARKER).rename(self._directory / "away")

    def leave_half_made(self, volume: Volume, job: str) -> None:
        path = Path(self.storage.attachment(volume).path)
        path.with_name(f"{path.name}.tag").write_text(json.dumps({"job": job, "image": ""}))
        path.with_name(f".{path.name}.new").write_bytes(b"half")

    def narrow(self) -> None:
        Path(self.place.path).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "covey-test", self.place.path], check=True)
        self._mounted = True

    def fill(self, volume: Volume) -> None:
        with (Path(self.place.path) / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass  # full, as wanted

    def make_room(self) -> None:
        (Path(self.place.path) / "filler").unlink()

    def close(self) -> None:
        if self._mounted:
            subprocess.run(["umount", self.place.path], check=True)


class FakeBench:
    format = "raw"

    def __init__(self, directory: Path) -> None:
        self.place = Place("file", "/srv/pool")
        self._directory = directory
        self._shelf = FileShelf(directory / "shelf")
        self._fake = FakeStorage(self._shelf)
        self.storage: Storage = self._fake

    def image(self, format: str) -> Source:
        path = self._directory / f"image.{format}"
        path.write_bytes(IMAGE_BYTES)
        return Source(path, format, 4 * MIB)

    def first_bytes(self, volume: Volume) -> bytes:
        return next(Path(t["image"]).read_bytes() for _, t in self._shelf.items("volume:") if t["id"] == volume.id)

    def lay_foreign_file(self, volume: Volume) -> None:
        self._fake.lay_foreign_file(volume)

    def lay_foreign_directory(self) -> None:
        self._fake.lay_foreign_directory(self.place)

    def unmount(self) -> None:
        self._fake.unmount(self.place)

    def leave_half_made(self, volume: Volume, job: str) -> None:
        """A fake makes things in one stroke."""

    def narrow(self) -> None:
        self.storage = self._fake = FakeStorage(self._shelf, {self.place.path: 8 * MIB})

    def fill(self, volume: Volume) -> None:
        self._fake.lay_foreign_file(replace(volume, id=OTHER, size=8 * MIB))

    def make_room(self) -> None:
        for key, _ in self._shelf.items("volume:"):
            self._shelf.delete(key)

    def close(self) -> None: ...


def make_bench(name: str, directory: Path) -> Bench:
    return FakeBench(directory) if name == "fake" else FileBench(directory, name.removeprefix("file-"))


FILES = [f"file-{format}" for format in CAPABILITIES["file"].formats]


@pytest.fixture(params=[*FILES, "fake"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = make_bench(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=FILES)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileBench]:
    made = FileBench(tmp_path, request.param.removeprefix("file-"))
    yield made
    made.close()


def a_volume(bench: Bench, size: int = 16 * MIB, id: str = ID) -> Volume:
    return Volume(id, bench.place, bench.format, size)


async def until(claim: Callable[[], bool], within_s: float = 30) -> None:
    """Look often: what is waited for is over in a moment."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        if claim():
            return
        assert asyncio.get_running_loop().time() < deadline, "it did not come"
        await asyncio.sleep(0.001)


async def with_pool(bench: Bench) -> Storage:
    await bench.storage.ensure_pool(bench.place, "job-1")
    return bench.storage


# ---- pools ----


async def test_ensuring_a_pool_twice_is_ensuring_it_once(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    await storage.ensure_pool(bench.place, "job-3")
    assert [found.id for found in await storage.volumes(bench.place)] == [ID]


async def test_a_place_with_foreign_content_is_refused(bench: Bench) -> None:
    bench.lay_foreign_directory()
    with pytest.raises(Refused) as refusal:
        await bench.storage.ensure_pool(bench.place, "job-1")
    assert refusal.value.hint


async def test_an_empty_directory_becomes_a_pool_that_qemu_can_enter(files: FileBench) -> None:
    (Path(files.place.path) / "lost+found").mkdir(parents=True)  # as mkfs leaves it
    storage = await with_pool(files)
    assert (await storage.space(files.place)).free > 0
    assert Path(files.place.path).stat().st_mode & 0o777 == 0o711


async def test_a_pool_goes_only_when_it_holds_no_volume(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    with pytest.raises(Refused):
        await storage.ensure_pool_absent(bench.place)
    await storage.ensure_volume_absent(a_volume(bench))
    await storage.ensure_pool_absent(bench.place, "somebody else's job")
    assert await storage.volumes(bench.place) == ()
    bench.leave_half_made(a_volume(bench), "job-9")
    await storage.ensure_pool_absent(bench.place)
    await storage.ensure_pool_absent(bench.place)
    with pytest.raises(Unavailable):
        await storage.space(bench.place)


async def test_a_place_that_is_not_mounted_is_unavailable_and_gets_nothing(bench: Bench) -> None:
    storage = await with_pool(bench)
    bench.unmount()
    volume = a_volume(bench)
    for call in (
        storage.space(bench.place),
        storage.volumes(bench.place),
        storage.ensure_volume(volume, "job-2", None),
        storage.ensure_size(volume, 32 * MIB),
        storage.ensure_volume_absent(volume),
    ):
        with pytest.raises(Unavailable) as answer:
            await call
        assert answer.value.object == bench.place.path


async def test_space_tells_size_and_what_is_free(bench: Bench) -> None:
    bench.narrow()
    space = await (await with_pool(bench)).space(bench.place)
    assert 0 < space.free <= space.size == 8 * MIB


# ---- volumes ----


async def test_ensuring_a_volume_twice_is_ensuring_it_once(bench: Bench) -> None:
    storage = await with_pool(bench)
    sizes = {await storage.ensure_volume(a_volume(bench), job, None) for job in ("job-2", "job-3")}
    (found,) = await storage.volumes(bench.place)
    assert sizes == {16 * MIB}
    assert (found.id, found.size, found.format, found.job) == (ID, 16 * MIB, bench.format, "job-2")


async def test_an_odd_size_is_rounded_up_to_sectors(bench: Bench) -> None:
    storage = await with_pool(bench)
    assert await storage.ensure_volume(a_volume(bench, size=MIB + 1), "job-2", None) == MIB + 512


@pytest.mark.parametrize("size", [0, -1, 10**18, 2**63])
async def test_an_impossible_size_is_bad_input_and_makes_nothing(bench: Bench, size: int) -> None:
    storage = await with_pool(bench)
    with pytest.raises(BadInput) as complaint:
        await storage.ensure_volume(a_volume(bench, size=size), "job-2", None)
    assert complaint.value.object == ID
    assert complaint.value.hint
    assert await storage.volumes(bench.place) == ()


async def test_a_volume_can_be_as_large_as_its_file_system_lets_it(files: FileBench) -> None:
    """20 TiB is more than a file may have on ext4, and no trouble elsewhere or for qcow2."""
    storage = await with_pool(files)
    try:
        size = await storage.ensure_volume(a_volume(files, size=20 * 2**40), "job-2", None)
    except BadInput as complaint:
        assert files.format == "raw"
        assert "file system" in complaint.what
        assert await storage.volumes(files.place) == ()
    else:
        assert size == 20 * 2**40


async def test_a_volume_that_is_no_uuid_is_bad_input(bench: Bench) -> None:
    storage = await with_pool(bench)
    with pytest.raises(BadInput):
        await storage.ensure_volume(a_volume(bench, id="../../etc/passwd"), "job-2", None)


async def test_an_unknown_format_is_bad_input(bench: Bench) -> None:
    storage = await with_pool(bench)
    with pytest.raises(BadInput):
        await storage.ensure_volume(replace(a_volume(bench), format="vmdk"), "job-2", None)


async def test_a_foreign_file_is_refused_listed_and_never_removed(bench: Bench) -> None:
    storage = await with_pool(bench)
    volume = a_volume(bench)
    bench.lay_foreign_file(volume)
    for call in (
        storage.ensure_volume(volume, "job-2", None),
        storage.ensure_size(volume, 32 * MIB),
        storage.ensure_volume_absent(volume),
    ):
        with pytest.raises(Refused):
            await call
    await storage.ensure_volume_absent(volume, "job-2")
    assert [(found.id, found.job) for found in await storage.volumes(bench.place)] == [(ID, "")]


async def test_a_qcow2_volume_takes_room_as_it_is_written_and_a_raw_one_at_once(files: FileBench) -> None:
    storage = await with_pool(files)
    size = 64 * MIB
    await storage.ensure_volume(a_volume(files, size=size), "job-2", None)
    (found,) = await storage.volumes(files.place)
    assert found.size == size
    assert found.used < MIB if found.format == "qcow2" else found.used >= size
    await storage.ensure_size(a_volume(files, size=2 * size), 2 * size)
    (grown,) = await storage.volumes(files.place)
    assert grown.used < MIB if found.format == "qcow2" else grown.used >= 2 * size


async def test_a_raw_volume_larger_than_the_disk_is_refused_at_once(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "raw")
    storage = await with_pool(bench)
    with pytest.raises(NoSpace):
        await storage.ensure_volume(a_volume(bench, size=2**43), "job-2", None)
    assert await storage.volumes(bench.place) == ()


async def test_a_volume_belongs_to_qemu_alone(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "qcow2")
    bench.storage = FileStorage(owner=(12345, 12346))
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    status = Path(storage.attachment(a_volume(bench)).path).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12346, 0o600)


async def test_the_attachment_says_how_qemu_opens_it(bench: Bench) -> None:
    attachment = bench.storage.attachment(a_volume(bench))
    assert (attachment.kind, attachment.format) == ("file", bench.format)
    assert attachment.path.startswith(f"{bench.place.path}/")


# ---- clones ----


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
async def test_a_clone_begins_with_the_images_bytes_and_has_the_wanted_size(bench: Bench, image_format: str) -> None:
    storage = await with_pool(bench)
    source = bench.image(image_format)
    assert await storage.ensure_volume(a_volume(bench), "job-2", source) == 16 * MIB
    assert bench.first_bytes(a_volume(bench)) == IMAGE_BYTES


async def test_a_clone_is_never_smaller_than_its_image(bench: Bench) -> None:
    storage = await with_pool(bench)
    assert await storage.ensure_volume(a_volume(bench, size=MIB), "job-2", bench.image("raw")) == 4 * MIB


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
async def test_writing_to_a_clone_never_changes_the_image(files: FileBench, image_format: str) -> None:
    storage = await with_pool(files)
    source = files.image(image_format)
    before = hashlib.sha256(source.path.read_bytes()).digest()
    await storage.ensure_volume(a_volume(files), "job-2", source)
    path = storage.attachment(a_volume(files)).path
    await run(["qemu-io", "-f", files.format, "-c", "write -P 0x5a 0 64k", path], timeout_s=30)
    assert files.first_bytes(a_volume(files)) == b"\x5a" * 512
    assert hashlib.sha256(source.path.read_bytes()).digest() == before


async def test_a_copy_on_write_clone_does_not_depend_on_the_size_of_the_image(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "qcow2")
    assert bench.format in bench.storage.capability.cow_formats
    storage = await with_pool(bench)
    source = bench.image("raw")
    with source.path.open("r+b") as file:
        file.seek(MIB)
        file.write(os.urandom(3 * MIB))
    await storage.ensure_volume(a_volume(bench), "job-2", source)
    (found,) = await storage.volumes(bench.place)
    assert found.used < MIB


async def test_an_image_whose_file_is_gone_is_not_found(bench: Bench) -> None:
    storage = await with_pool(bench)
    with pytest.raises(NotFound):
        await storage.ensure_volume(a_volume(bench), "job-2", Source(Path("/no/such/image"), "raw", MIB))
    assert await storage.volumes(bench.place) == ()


# ---- growing ----


async def test_ensuring_a_size_twice_is_ensuring_it_once(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    assert [await storage.ensure_size(a_volume(bench), 32 * MIB) for _ in range(2)] == [32 * MIB, 32 * MIB]
    (found,) = await storage.volumes(bench.place)
    assert found.size == 32 * MIB


async def test_a_volume_never_shrinks(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    assert await storage.ensure_size(a_volume(bench), MIB) == 16 * MIB


async def test_a_clone_keeps_its_content_when_it_grows(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", bench.image("qcow2"))
    assert await storage.ensure_size(a_volume(bench), 64 * MIB) == 64 * MIB
    assert bench.first_bytes(a_volume(bench)) == IMAGE_BYTES


async def test_an_absent_volume_cannot_grow(bench: Bench) -> None:
    storage = await with_pool(bench)
    with pytest.raises(NotFound):
        await storage.ensure_size(a_volume(bench), 32 * MIB)


async def test_growing_beyond_all_bounds_is_bad_input_and_changes_nothing(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    with pytest.raises(BadInput):
        await storage.ensure_size(a_volume(bench), 10**18)
    assert [found.size for found in await storage.volumes(bench.place)] == [16 * MIB]


# ---- removing ----


async def test_removing_twice_is_removing_once(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    await storage.ensure_volume_absent(a_volume(bench))
    await storage.ensure_volume_absent(a_volume(bench))
    assert await storage.volumes(bench.place) == ()


async def test_an_undo_takes_back_only_its_own(bench: Bench) -> None:
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    await storage.ensure_volume_absent(a_volume(bench), "job-3")
    assert len(await storage.volumes(bench.place)) == 1
    await storage.ensure_volume_absent(a_volume(bench), "job-2")
    assert await storage.volumes(bench.place) == ()


# ---- a full disk ----


async def test_a_full_place_is_no_space_naming_it_and_nothing_is_left(bench: Bench) -> None:
    bench.narrow()
    storage = await with_pool(bench)
    volume = a_volume(bench, size=4 * MIB)
    bench.fill(volume)
    before = await storage.volumes(bench.place)
    with pytest.raises(NoSpace) as refusal:
        await storage.ensure_volume(volume, "job-2", None if bench.format == "qcow2" else bench.image("raw"))
    assert refusal.value.object == bench.place.path
    assert "missing" in refusal.value.what
    assert await storage.volumes(bench.place) == before
    bench.make_room()
    assert await storage.ensure_volume(volume, "job-3", None) == 4 * MIB


async def test_a_copy_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "raw")
    bench.narrow()
    try:
        storage = await with_pool(bench)
        image = tmp_path / "large.raw"
        image.write_bytes(os.urandom(12 * MIB))
        with pytest.raises(NoSpace, match="missing"):
            await storage.ensure_volume(a_volume(bench), "job-2", Source(image, "raw", 12 * MIB))
        assert await storage.volumes(bench.place) == ()
    finally:
        bench.close()


# ---- kills ----


async def test_what_a_killed_call_left_half_made_is_finished(bench: Bench) -> None:
    storage = await with_pool(bench)
    bench.leave_half_made(a_volume(bench), "job-2")
    assert all(found.size == 0 and found.job == "job-2" for found in await storage.volumes(bench.place))
    assert await storage.ensure_volume(a_volume(bench), "job-2", bench.image("raw")) == 16 * MIB
    assert bench.first_bytes(a_volume(bench)) == IMAGE_BYTES


async def test_what_a_killed_call_left_half_made_is_undone_by_its_job(bench: Bench) -> None:
    storage = await with_pool(bench)
    bench.leave_half_made(a_volume(bench), "job-2")
    await storage.ensure_volume_absent(a_volume(bench), "job-2")
    assert await storage.volumes(bench.place) == ()
    if isinstance(bench, FileBench):
        assert list((Path(bench.place.path) / "volumes").iterdir()) == []


CHILD = """
import asyncio, sys
from pathlib import Path
from covey.host.storage.file import FileStorage
from covey.host.storage.protocol import Source
from covey.model.pool import Place, Volume
pool, image, id = sys.argv[1:]
volume = Volume(id, Place("file", pool), "raw", 1)
asyncio.run(FileStorage().ensure_volume(volume, "job-2", Source(Path(image), "raw", Path(image).stat().st_size)))
"""


async def test_kill_9_in_the_middle_of_a_copy_leaves_debris_and_never_half_a_volume(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "raw")
    storage = await with_pool(bench)
    image = tmp_path / "large.raw"
    with image.open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(MIB))
    volume = replace(a_volume(bench), size=1)
    final = Path(storage.attachment(volume).path)
    making = final.with_name(f".{final.name}.new")
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, bench.place.path, str(image), ID)
    await until(lambda: making.exists() and making.stat().st_size > MIB)
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert not final.exists()
    assert [(found.size, found.job) for found in await storage.volumes(bench.place)] == [(0, "job-2")]
    assert await storage.ensure_volume(volume, "job-2", Source(image, "raw", 256 * MIB)) == 256 * MIB
    assert final.read_bytes() == image.read_bytes()
    assert not making.exists()


async def test_a_cancelled_copy_leaves_nothing(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "raw")
    storage = await with_pool(bench)
    image = tmp_path / "large.raw"
    with image.open("wb") as file:
        for _ in range(128):
            file.write(os.urandom(MIB))
    copying = asyncio.create_task(storage.ensure_volume(a_volume(bench), "job-2", Source(image, "raw", 128 * MIB)))
    await until(lambda: any((Path(bench.place.path) / "volumes").glob(".*.new")) or copying.done())
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert list((Path(bench.place.path) / "volumes").iterdir()) == []


async def test_without_the_tool_nothing_is_made_and_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = FileBench(tmp_path, "qcow2")
    storage = await with_pool(bench)
    setpriv = shutil.which("setpriv")
    assert setpriv
    (tmp_path / "setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="qemu-img") as answer:
        await storage.ensure_volume(a_volume(bench), "job-2", None)
    assert "qemu-utils" in answer.value.hint
    assert await storage.volumes(bench.place) == ()


# ---- a volume in use ----


@pytest.mark.real
async def test_a_volume_that_qemu_holds_is_listed_and_not_grown_behind_its_back(tmp_path: Path) -> None:
    bench = FileBench(tmp_path, "qcow2")
    storage = await with_pool(bench)
    await storage.ensure_volume(a_volume(bench), "job-2", None)
    path = storage.attachment(a_volume(bench)).path
    pid_file = tmp_path / "pid"
    argv = ["qemu-system-x86_64", "-M", "none", "-S", "-display", "none", "-daemonize", "-pidfile", str(pid_file)]
    await run([*argv, "-drive", f"if=none,id=d,format=qcow2,file={path}"], timeout_s=30)
    try:
        assert [found.size for found in await storage.volumes(bench.place)] == [16 * MIB]
        with pytest.raises(Refused, match="running guest"):
            await storage.ensure_size(a_volume(bench), 32 * MIB)
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


# ---- templates that hold nothing ----


@pytest.fixture
def diskless() -> DisklessStorage:
    return DisklessStorage()


async def test_a_diskless_pool_is_always_there_and_always_empty(diskless: DisklessStorage) -> None:
    place = Place("diskless")
    assert not diskless.capability.holds_volumes
    for _ in range(2):
        await diskless.ensure_pool(place, "job-1")
    assert await diskless.volumes(place) == ()
    assert (await diskless.space(place)).free == 0
    await diskless.ensure_pool_absent(place)


async def test_a_diskless_pool_refuses_volumes_and_says_where_they_can_be(diskless: DisklessStorage) -> None:
    volume = Volume(ID, Place("diskless"), "", MIB)
    for call in (diskless.ensure_volume(volume, "job-2", None), diskless.ensure_size(volume, MIB)):
        with pytest.raises(Refused) as refusal:
            await call
        assert refusal.value.hint
    await diskless.ensure_volume_absent(volume)


# ---- the shelf under the fakes ----


async def test_a_fake_outlives_its_process(tmp_path: Path) -> None:
    place = Place("file", "/srv/pool")
    first = FakeStorage(FileShelf(tmp_path / "shelf"))
    await first.ensure_pool(place, "job-1")
    await first.ensure_volume(Volume(ID, place, "qcow2", MIB), "job-2", None)
    assert [found.id for found in await FakeStorage(FileShelf(tmp_path / "shelf")).volumes(place)] == [ID]
