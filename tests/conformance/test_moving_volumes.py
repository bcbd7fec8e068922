"""A volume of one node made on another: real files with holes, and their fakes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.base.errors import NotFound, Refused, Unavailable
from covey.base.qcow2 import CLUSTER
from covey.host.export.allocation import told_apart
from covey.host.export.exports import HostExports
from covey.host.export.fake import FakeExports
from covey.host.export.parts import Parts, parsed
from covey.host.export.protocol import Exports
from covey.host.formats import find_backing
from covey.host.shelf import FileShelf
from covey.host.storage import bring
from covey.host.storage.fake import FakeStorage
from covey.host.storage.file import FileStorage
from covey.host.storage.protocol import Fetch, Source, Storage
from covey.model.pool import Place, Volume

MIB = 2**20
OLD, NEW = "5f0a3c1e-0000-4000-8000-000000000001", "5f0a3c1e-0000-4000-8000-000000000002"
SIZE = 96 * MIB + 512  # which ends within a cluster
DATA = {0: 3 * MIB, 40 * MIB + 4096: 512, 64 * MIB: 20 * MIB, SIZE - 512: 512}  # what is written, where


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring, "RETRY_S", 0.0)
    monkeypatch.setattr(bring, "DURABLE_EACH", 2 * MIB)
    monkeypatch.setattr(bring, "floor_of", lambda size: 0)


class Site:
    """Two machines' pools, and a way between them that can be cut."""

    def __init__(self, which: str, directory: Path) -> None:
        self.directory = directory
        self.shelves = FileShelf(directory / "a"), FileShelf(directory / "b")
        is_fake = which == "fake"
        self.a: Storage = FakeStorage(self.shelves[0]) if is_fake else FileStorage()
        self.b: Storage = FakeStorage(self.shelves[1]) if is_fake else FileStorage()
        self.exports: Exports = FakeExports(self.shelves[0]) if is_fake else HostExports(directory / "x")
        self.asked: list[int] = []  # from where, each time
        self.cuts: list[int] = []  # after how many bytes of data the next ways end
        self.told: list[tuple[int, int]] = []

    def place(self, machine: str) -> Place:
        return Place("file", str(self.directory / f"pool-{machine}"))

    def old(self, format: str) -> Volume:
        return Volume(OLD, self.place("a"), format, SIZE)

    def new(self, format: str) -> Volume:
        return Volume(NEW, self.place("b"), format, SIZE)

    async def a_volume(self, format: str, source: Source | None = None) -> Path:
        await self.a.ensure_pool(self.place("a"), "1")
        await self.b.ensure_pool(self.place("b"), "1")
        await self.a.ensure_volume(self.old(format), "1", source)
        return Path(self.a.attachment(self.old(format)).path)

    def fetch(self, format: str, above: bool = False) -> Fetch:
        def way(start: int) -> AbstractAsyncContextManager[Parts]:
            return self._way(format, above, start)

        return way

    @asynccontextmanager
    async def _way(self, format: str, above: bool, start: int) -> AsyncIterator[Parts]:
        self.asked.append(start)
        async with self.exports.in_parts(self.a.attachment(self.old(format)), above, start) as content:
            came: list[int] = []
            yield await parsed(self._counted(content.pieces, came))

    async def _counted(self, pieces: AsyncIterator[bytes], came: list[int]) -> AsyncIterator[bytes]:
        left = self.cuts.pop(0) if self.cuts else 2**62
        async for piece in pieces:
            came.append(len(piece))
            if sum(came) > left:
                return
            yield piece

    async def bring(self, format: str, source: Source | None = None) -> int:
        fetch = self.fetch(format, above=source is not None)
        return await self.b.ensure_brought(self.new(format), "7", source, fetch, lambda *told: self.told.append(told))


def write(path: Path, format: str, data: dict[int, int] = DATA, seed: int = 1) -> None:
    """Through QEMU, as a guest does."""
    chance = random.Random(seed)
    raw = path.with_name("pattern")
    for offset, length in data.items():
        raw.write_bytes(chance.randbytes(length))
        qemu_io(path, format, f"write -s {raw} {offset} {length}")
    raw.unlink()


def an_image(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True, timeout=60)
    write(path, "qcow2", {0: 48 * MIB}, seed=5)


@contextmanager
def a_writer(path: Path) -> Iterator[None]:
    """A QEMU that writes to it."""
    with subprocess.Popen(["qemu-io", "-f", "raw", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin
        assert writer.stdout
        writer.stdin.write(b"write 0 512\n")
        writer.stdin.flush()
        writer.stdout.readline()
        try:
            yield
        finally:
            writer.kill()


def qemu_io(path: Path, format: str, *commands: str) -> None:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", format, *words, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "rror" not in done.stdout, done


def shown(path: Path, format: str) -> str:
    """The SHA-256 of what a guest sees."""
    raw = path.with_name("shown.raw")
    subprocess.run(["qemu-img", "convert", "-f", format, "-O", "raw", path, raw], check=True, timeout=60)
    with raw.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    raw.unlink()
    return digest


def is_sound(path: Path) -> None:
    done = subprocess.run(["qemu-img", "check", "--output=json", path], capture_output=True, timeout=60)
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0 and not said.get("leaks"), said


@pytest.fixture(params=["host", "fake"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(request.param, tmp_path)


@pytest.fixture
def real(tmp_path: Path) -> Site:
    return Site("host", tmp_path)


# --- both ----------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_a_volume_is_brought_whole_and_only_once(site: Site, format: str) -> None:
    await site.a_volume(format)
    assert await site.bring(format) == SIZE
    assert await site.bring(format) == SIZE
    assert len(site.asked) == 1
    (found,) = await site.b.volumes(site.place("b"))
    assert (found.id, found.size, found.job, found.base) == (NEW, SIZE, "7", "")


async def test_only_the_job_that_brought_it_takes_it_back(site: Site) -> None:
    await site.a_volume("qcow2")
    await site.bring("qcow2")
    await site.b.ensure_volume_absent(site.new("qcow2"), "8")
    assert len(await site.b.volumes(site.place("b"))) == 1
    await site.b.ensure_volume_absent(site.new("qcow2"), "7")
    assert await site.b.volumes(site.place("b")) == ()


async def test_an_offer_names_one_node_and_ends_with_its_job_or_its_volume(site: Site) -> None:
    await site.a_volume("qcow2")
    volume = site.old("qcow2")
    assert await site.a.offered_to(volume) == ""
    await site.a.ensure_offered(volume, "n2", "7")
    await site.a.ensure_not_offered(volume, "6")
    assert await site.a.offered_to(volume) == "n2"
    await site.a.ensure_offered(volume, "n3", "8")
    assert await site.a.offered_to(volume) == "n3"
    await site.a.ensure_not_offered(volume, "8")
    assert await site.a.offered_to(volume) == ""
    await site.a.ensure_offered(volume, "n2", "9")
    await site.a.ensure_volume_absent(volume)
    assert await site.a.offered_to(volume) == ""
    assert await site.a.volumes(site.place("a")) == ()
    with pytest.raises(NotFound):
        await site.a.ensure_offered(volume, "n2", "9")


# --- files ---------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_what_it_shows_is_the_same_and_holes_stay_holes(real: Site, format: str) -> None:
    path = await real.a_volume(format)
    write(path, format)
    await real.bring(format)
    new = Path(real.b.attachment(real.new(format)).path)
    assert shown(new, format) == shown(path, format)
    data = sum(-(-length // CLUSTER) + 1 for length in DATA.values()) * CLUSTER
    assert real.told[-1][0] == real.told[-1][1] <= data, "only what holds data was sent"
    if format == "qcow2":
        is_sound(new)
        assert new.stat().st_blocks * 512 <= data + 16 * CLUSTER
    assert sorted(file.name for file in new.parent.iterdir()) == [new.name, f"{new.name}.tag"]


async def test_a_thin_disk_stays_thin_also_where_it_hides_its_image_with_nothing(real: Site) -> None:
    image = real.directory / "image.qcow2"
    an_image(image)
    path = await real.a_volume("qcow2", Source(image, "qcow2", 64 * MIB))
    write(path, "qcow2", {4 * MIB: MIB, 80 * MIB: 512})
    qemu_io(path, "qcow2", "write -z 8M 5M", "write -z -u 20M 64k", f"write -z {30 * MIB + 512} 1024")
    elsewhere = real.directory / "other.qcow2"
    elsewhere.write_bytes(image.read_bytes())
    await real.bring("qcow2", Source(elsewhere, "qcow2", 64 * MIB))
    new = Path(real.b.attachment(real.new("qcow2")).path)
    assert find_backing(new) == str(elsewhere)
    is_sound(new)
    assert shown(new, "qcow2") == shown(path, "qcow2")
    assert new.stat().st_blocks * 512 < 4 * MIB
    assert real.told[-1][1] <= 2 * MIB


@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_what_was_cut_off_goes_on_where_it_stopped(real: Site, format: str) -> None:
    path = await real.a_volume(format)
    write(path, format)
    real.cuts = [5 * MIB, 9 * MIB, 0]
    await real.bring(format)
    assert real.asked[0] == 0
    assert 4 * MIB <= real.asked[1] < 5 * MIB
    assert real.asked[1] < real.asked[2] == real.asked[3]
    assert shown(Path(real.b.attachment(real.new(format)).path), format) == shown(path, format)


async def test_a_killed_agent_goes_on_with_what_was_durable(real: Site) -> None:
    """As kill -9 leaves it: the part, its memo, and perhaps more than that says."""
    path = await real.a_volume("qcow2")
    write(path, "qcow2")
    bringing = asyncio.ensure_future(real.bring("qcow2"))
    while not real.told or real.told[-1][0] < 8 * MIB:
        await asyncio.sleep(0)
        assert not bringing.done(), bringing
    bringing.cancel()
    await asyncio.gather(bringing, return_exceptions=True)
    real.asked.clear()
    await real.bring("qcow2")
    assert real.asked[0] >= 6 * MIB
    assert shown(Path(real.b.attachment(real.new("qcow2")).path), "qcow2") == shown(path, "qcow2")


async def test_a_part_of_another_file_is_begun_anew(real: Site) -> None:
    path = await real.a_volume("qcow2")
    write(path, "qcow2")
    real.cuts = [5 * MIB, 0, 0, 0, 0, 0]
    with pytest.raises(Unavailable):
        await real.bring("qcow2")
    real.cuts = []
    write(path, "qcow2", {0: MIB}, seed=9)
    await real.bring("qcow2")
    assert shown(Path(real.b.attachment(real.new("qcow2")).path), "qcow2") == shown(path, "qcow2")


async def test_what_stays_away_is_told_and_what_came_can_be_taken_back(real: Site) -> None:
    path = await real.a_volume("qcow2")
    write(path, "qcow2")
    real.cuts = [5 * MIB, *[0] * bring.ATTEMPTS]
    with pytest.raises(Unavailable, match="broke off"):
        await real.bring("qcow2")
    await real.b.ensure_volume_absent(real.new("qcow2"), "7")
    assert list(Path(real.b.attachment(real.new("qcow2")).path).parent.iterdir()) == []


@pytest.mark.parametrize("start", [0, 5 * CLUSTER, 40 * CLUSTER])
async def test_as_much_comes_as_is_announced(site: Site, start: int) -> None:
    path = await site.a_volume("qcow2")
    if path.exists():
        write(path, "qcow2")
        async with site.exports.in_parts(site.a.attachment(site.old("qcow2")), False, start) as content:
            assert sum([len(piece) async for piece in content.pieces]) == content.length
    async with site.exports.in_parts(site.a.attachment(site.old("qcow2")), False, 0) as content:
        assert sum([len(piece) async for piece in content.pieces]) == content.length


async def test_a_garbled_piece_is_not_written(real: Site) -> None:
    path = await real.a_volume("raw")
    write(path, "raw", {0: CLUSTER})
    async with real.exports.in_parts(real.a.attachment(real.old("raw")), False, 0) as content:
        whole = bytearray(b"".join([piece async for piece in content.pieces]))
        assert len(whole) == content.length
    whole[-1000] ^= 1

    async def garbled() -> AsyncIterator[bytes]:
        yield bytes(whole)

    parts = await parsed(garbled())
    with pytest.raises(Unavailable, match="not what was sent"):
        [piece async for piece in parts.pieces]


async def test_a_volume_that_is_written_to_is_not_handed_over(real: Site) -> None:
    path = await real.a_volume("raw")
    with a_writer(path), pytest.raises(Refused):
        await real.bring("raw")


def test_a_cluster_that_is_zeros_in_part_is_data() -> None:
    def extent(start: int, length: int, zero: bool, depth: int = 0, present: bool = True) -> dict[str, Any]:
        return {"start": start, "length": length, "zero": zero, "data": not zero, "depth": depth, "present": present}

    data, zeros = told_apart(
        [
            extent(0, CLUSTER, False),
            extent(CLUSTER, CLUSTER // 2, False),
            extent(CLUSTER * 3 // 2, 2 * CLUSTER, True),
            extent(CLUSTER * 7 // 2, CLUSTER // 2, False, depth=1),
            extent(4 * CLUSTER, CLUSTER, True, present=False),
        ]
    )
    assert [(run.first, run.count) for run in data] == [(0, 2), (3, 1)]
    assert [(run.first, run.count) for run in zeros] == [(2, 1)]
