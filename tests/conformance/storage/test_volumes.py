"""What every storage template promises: pools and volumes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, Unavailable
from covey.base.run import run
from covey.host.storage.file import FileStorage
from covey.host.storage.protocol import Source
from tests.kit.storages import (
    ID,
    IMAGE_BYTES,
    MIB,
    Bench,
    FileBench,
    a_volume,
    with_pool,
)

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


async def test_what_a_volume_takes_is_told_and_one_that_is_missing_is_not_taken_for_empty(bench: Bench) -> None:
    storage = await with_pool(bench)
    with pytest.raises(NotFound):
        await storage.used(a_volume(bench))
    await storage.ensure_volume(a_volume(bench), "job-1", None)
    (found,) = await storage.volumes(bench.place)
    assert await storage.used(a_volume(bench)) == found.used > 0


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
