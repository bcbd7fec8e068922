"""What every storage template promises of volumes that lie on volumes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from covey.base.errors import NotFound, Refused
from covey.host.storage.protocol import Storage
from covey.model.pool import FoundVolume, Volume
from tests.kit.storages import IMAGE_BYTES, MIB, OTHER, Bench, FileBench, a_volume, with_pool

TOP = "5f0a3c1e-0000-4000-8000-000000000003"


def a_layered(bench: Bench, id: str = OTHER, size: int = 16 * MIB) -> Volume:
    return replace(a_volume(bench, size, id), format="qcow2")


async def with_base(bench: Bench) -> tuple[Storage, Volume]:
    """A pool with a volume that holds an image."""
    storage = await with_pool(bench)
    base = replace(a_volume(bench), format="qcow2")
    await storage.ensure_volume(base, "job-2", bench.image("raw"))
    return storage, base


async def found(bench: Bench, volume: Volume) -> FoundVolume:
    (one,) = [one for one in await bench.storage.volumes(bench.place) if one.id == volume.id]
    return one


def ignore(done: int, total: int) -> None: ...


async def test_an_overlay_shows_what_lies_below_and_says_on_what_it_lies(bench: Bench) -> None:
    storage, base = await with_base(bench)
    top = a_layered(bench)
    for job in ("job-3", "job-4"):
        assert await storage.ensure_overlay(top, job, base) == 16 * MIB
    one = await found(bench, top)
    assert (one.base, one.job, one.size) == (base.id, "job-3", 16 * MIB)
    assert bench.first_bytes(top).startswith(IMAGE_BYTES[:100])
    assert (await found(bench, base)).base == ""


async def test_an_overlay_of_nothing_and_a_raw_one_are_refused(bench: Bench) -> None:
    storage, base = await with_base(bench)
    with pytest.raises(NotFound):
        await storage.ensure_overlay(a_layered(bench), "job-3", replace(base, id=TOP))
    with pytest.raises(Refused):
        await storage.ensure_overlay(replace(a_layered(bench), format="raw"), "job-3", base)
    assert [one.id for one in await storage.volumes(bench.place)] == [base.id]


async def test_an_undo_takes_back_only_the_overlay_of_its_own_job(bench: Bench) -> None:
    storage, base = await with_base(bench)
    top = a_layered(bench)
    await storage.ensure_overlay(top, "job-3", base)
    await storage.ensure_volume_absent(top, "job-9")
    assert (await found(bench, top)).job == "job-3"
    await storage.ensure_volume_absent(top, "job-3")
    assert [one.id for one in await storage.volumes(bench.place)] == [base.id]


async def test_merging_twice_is_merging_once_and_the_lower_one_grows(bench: Bench) -> None:
    storage, base = await with_base(bench)
    top = a_layered(bench)
    await storage.ensure_overlay(top, "job-3", base)
    await storage.ensure_size(top, 32 * MIB)
    for _ in range(2):
        await storage.ensure_merged(top, base, ignore)
        assert bench.first_bytes(top).startswith(IMAGE_BYTES[:100])
    assert (await found(bench, base)).size == 32 * MIB
    await storage.ensure_volume_absent(top)
    assert bench.first_bytes(base).startswith(IMAGE_BYTES[:100])


async def test_what_lay_on_a_merged_one_lies_on_the_lower_one(bench: Bench) -> None:
    storage, base = await with_base(bench)
    middle, top = a_layered(bench), a_layered(bench, TOP)
    await storage.ensure_overlay(middle, "job-3", base)
    await storage.ensure_overlay(top, "job-4", middle)
    await storage.ensure_merged(middle, base, ignore)
    for _ in range(2):
        await storage.ensure_lies_on(top, base)
    await storage.ensure_volume_absent(middle)
    assert (await found(bench, top)).base == base.id
    assert bench.first_bytes(top).startswith(IMAGE_BYTES[:100])


async def test_a_copy_shows_the_same_and_lies_on_nothing(bench: Bench) -> None:
    storage, base = await with_base(bench)
    top = a_layered(bench)
    await storage.ensure_overlay(top, "job-3", base)
    told: list[tuple[int, int]] = []
    for format in ("qcow2", "raw"):
        copy = replace(a_volume(bench, 16 * MIB, TOP), format=format)
        for job in ("job-4", "job-5"):
            size = await storage.ensure_copy(copy, job, storage.attachment(top), lambda done, total: told.append((done, total)))
            assert size == 16 * MIB
        one = await found(bench, copy)
        assert (one.base, one.job, one.size) == ("", "job-4", 16 * MIB)
        assert bench.first_bytes(copy).startswith(IMAGE_BYTES[:100])
        assert told[-1] == (16 * MIB, 16 * MIB)
        await storage.ensure_volume_absent(copy, "job-9")
        await storage.ensure_volume_absent(copy, "job-4")
    assert len(await storage.volumes(bench.place)) == 2


async def test_a_copy_of_nothing_is_refused_and_leaves_nothing(bench: Bench) -> None:
    storage, base = await with_base(bench)
    with pytest.raises(NotFound):
        await storage.ensure_copy(a_layered(bench), "job-3", storage.attachment(replace(base, id=TOP)), ignore)
    assert [one.id for one in await storage.volumes(bench.place)] == [base.id]


async def test_flattening_twice_is_flattening_once_and_what_was_below_may_go(bench: Bench) -> None:
    storage, base = await with_base(bench)
    top = a_layered(bench)
    await storage.ensure_overlay(top, "job-3", base)
    told: list[tuple[int, int]] = []
    for _ in range(2):
        await storage.ensure_flat(top, lambda done, total: told.append((done, total)))
        assert (await found(bench, top)).base == ""
    assert told[-1] == (16 * MIB, 16 * MIB)
    await storage.ensure_volume_absent(base)
    assert bench.first_bytes(top).startswith(IMAGE_BYTES[:100])


async def test_a_clone_of_an_image_is_flattened_and_the_image_may_go(files: FileBench) -> None:
    storage = await with_pool(files)
    image = files.image("qcow2")
    clone = replace(a_layered(files), format="qcow2")
    await storage.ensure_volume(clone, "job-2", image)
    await storage.ensure_flat(clone, ignore)
    image.path.unlink()
    assert files.first_bytes(clone).startswith(IMAGE_BYTES[:100])


async def test_what_is_not_there_is_not_flattened(bench: Bench) -> None:
    storage, _ = await with_base(bench)
    with pytest.raises(NotFound):
        await storage.ensure_flat(a_layered(bench), ignore)


async def test_a_layer_is_not_merged_into_one_that_it_does_not_lie_on(bench: Bench) -> None:
    storage, base = await with_base(bench)
    middle, top = a_layered(bench), a_layered(bench, TOP)
    await storage.ensure_overlay(middle, "job-3", base)
    await storage.ensure_overlay(top, "job-4", middle)
    with pytest.raises(Refused):
        await storage.ensure_merged(top, base, ignore)
    with pytest.raises(NotFound):
        await storage.ensure_merged(replace(top, id="5f0a3c1e-0000-4000-8000-000000000009"), middle, ignore)


async def test_an_overlay_is_made_while_the_lower_one_is_written_to(files: FileBench) -> None:
    """QEMU holds a lock on it then."""
    storage, base = await with_base(files)
    argv = ["stdbuf", "-oL", "qemu-io", "-f", "qcow2", "-c", "write 0 512", "-c", "sleep 3000", storage.attachment(base).path]
    writer = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert writer.stdout is not None
        await writer.stdout.readline()
        await storage.ensure_overlay(a_layered(files), "job-3", base)
    finally:
        writer.kill()
        await writer.wait()
