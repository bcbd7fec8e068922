"""What every storage template promises when things go wrong, and what single ones promise."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import NoSpace, Refused, Unavailable
from covey.base.run import run
from covey.host.shelf import FileShelf
from covey.host.storage.diskless import DisklessStorage
from covey.host.storage.fake import FakeStorage
from covey.host.storage.protocol import Source
from covey.model.pool import Place, Volume
from tests.kit.storages import (
    ID,
    IMAGE_BYTES,
    MIB,
    Bench,
    FileBench,
    a_volume,
    until,
    with_pool,
)

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
