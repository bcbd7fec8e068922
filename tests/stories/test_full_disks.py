"""Disks that fill: the store's own, and a pool's. Each on a small file system of its own."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.covey_up import DONE, FAILED, FINDINGS, CoveyUp, a_covey, tmpfs
from tests.kit.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 2**20
PIECE = 16 * MIB


def fill(place: Path) -> Path:
    """Take all that is left of a file system."""
    filler = place / f"filler{len(list(place.glob('filler*')))}"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    size = PIECE
    try:
        while size >= resource.getpagesize():
            try:
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
            except OSError:
                size //= 2
    finally:
        os.close(descriptor)
    return filler


async def test_a_full_disk_under_the_store_is_told_of_and_refuses_changes_until_there_is_room_again() -> None:
    covey = CoveyUp("fake")
    try:
        tmpfs(covey.state, f"size={600 * MIB}")
        await covey.start()
        await covey.initialise()
        await covey.do("instance add web1 --memory 16M")
        fillers = [fill(covey.state)]
        await _until_refused(covey, "the reserve carries it", fillers)
        answer = await covey.ask("status")
        assert answer.status == FINDINGS
        assert "disk is full" in answer.out
        notes = (await covey.json("node info n1"))["notes"]
        said = await covey.fail("node modify n1 --notes", f"lost{'x' * 60_000}")
        assert "store" in said
        assert str(covey.state) in said
        assert (await covey.json("node info n1"))["notes"] == notes, "what was refused has not happened"
        assert (await covey.instance("web1"))["state"] == "running"
        for filler in fillers:
            filler.unlink()

        async def takes_changes() -> bool:
            return (await covey.ask("node modify n1 --notes", "well again")).status == DONE

        await eventually(takes_changes)
        await covey.do("instance add web2 --memory 16M")
        assert (await covey.json("node info n1"))["notes"] == "well again"

        async def is_well() -> bool:
            await covey.do("node ping n1")
            return (await covey.ask("status")).status == DONE

        await eventually(is_well)
        assert await covey.findings() == []
        await covey.kill_up()
        await covey.start()
        assert [each["name"] for each in await covey.json("instance list")] == ["web1", "web2"]
    finally:
        await covey.close()


async def _until_refused(covey: CoveyUp, notes: str, fillers: list[Path]) -> None:
    """Change something until the reserve, too, is used up: a large note each time, on a disk that is filled again and again."""
    for number in range(60):
        answer = await covey.ask("node modify n1 --notes", f"{notes} {number} {'x' * 60_000}")
        assert answer.status in (DONE, FAILED), answer
        if answer.status == FAILED:
            assert "space" in answer.err or "full" in answer.err, answer
            return
        fillers.append(fill(covey.state))
    raise AssertionError("60 large notes fitted on a full disk")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


@pytest.mark.real
async def test_a_pool_that_is_nearly_full_takes_nothing_new(covey: CoveyUp) -> None:
    place = tmpfs(covey.directory / "small", "size=2100M")
    await covey.do(f"pool add small --path {place}")
    await covey.do("instance add thin --image tick --memory 16M --disk 1M,pool=small")
    before = await covey.records(), sorted(place.rglob("*"))
    for line in (
        "instance add thick --image tick --memory 16M --disk 200M,pool=small,format=raw",
        "disk add thin 200M --pool small --format raw",
    ):
        said = await covey.fail(line, says=["pool small", "n1", "free", "try: "])
        assert "2G must stay free" in said
    assert (await covey.records(), sorted(place.rglob("*"))) == before
    assert "small" in await covey.do("pool info small")
    filler = fill(place)

    async def is_told() -> bool:
        answer = await covey.ask("status")
        return "pool small" in answer.out and "nothing new fits" in answer.out

    await eventually(is_told)
    await covey.goes_on("thin")
    await covey.fail("disk add thin 1M --pool small", says=["pool small"])
    filler.unlink()
    await covey.do("instance remove thin --yes")
    await covey.do("pool remove small --yes")
    assert not (place / "covey-pool").exists()


@pytest.mark.real
async def test_a_file_system_that_fills_in_the_middle_of_an_add_leaves_nothing(covey: CoveyUp) -> None:
    """It has room by its own account, but no more files: the driver alone hears of it."""
    place = tmpfs(covey.directory / "few", "size=4G,nr_inodes=6")
    await covey.do(f"pool add few --path {place}")
    before = await covey.records(), covey.files()
    said = await covey.fail(
        "instance add web1 --image tick --memory 16M --disk 1M --disk 1M,pool=few --disk 1M,pool=few", says=["no space"]
    )
    assert str(place) in said
    assert "Nothing is left" in said
    assert (await covey.records(), covey.files()) == before
    assert list((place / "volumes").iterdir()) == []
    assert await covey.findings() == []
    await covey.do("pool remove few --yes")


@pytest.mark.real
async def test_a_guest_whose_pool_fills_is_paused_and_goes_on_when_there_is_room(covey: CoveyUp) -> None:
    place = tmpfs(covey.directory / "tight", "size=2400M")
    await covey.do(f"pool add tight --path {place}")
    await covey.do("instance add web1 --image tick --memory 16M --disk 64M,pool=tight --no-start")
    filler = fill(place)
    await covey.do("instance start web1")
    await covey.becomes("web1", "paused")
    answer = await covey.ask("status")
    assert answer.status == FINDINGS
    assert "paused: its pool may be full" in answer.out
    assert "covey instance start web1" in answer.out
    filler.unlink()
    await covey.do("instance start web1")
    await covey.goes_on("web1")
    assert await covey.state_of("web1") == "running"
    await covey.do("instance remove web1 --yes")
    await covey.do("pool remove tight --yes")
