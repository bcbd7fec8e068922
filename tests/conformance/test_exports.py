"""What every machine promises of disks that are handed out."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import NotFound, Refused, Unavailable
from covey.host.export.exports import HostExports
from covey.host.export.fake import FakeExports
from covey.host.export.protocol import Exports
from covey.host.formats import find_backing
from covey.host.shelf import FileShelf
from covey.host.storage.fake import FakeStorage
from covey.host.storage.file import FileStorage
from covey.host.storage.protocol import Attachment, Storage
from covey.model.pool import Place, Volume
from tests.kit.covey_up import command_lines

MIB = 2**20
ID = "5f0a3c1e-0000-4000-8000-000000000001"
ABOVE = "5f0a3c1e-0000-4000-8000-000000000002"


class Bench:
    def __init__(self, which: str, directory: Path) -> None:
        self.directory = directory
        self.place = Place("file", str(directory / "pool"))
        shelf = FileShelf(directory / "shelf")
        self.storage: Storage = FakeStorage(shelf) if which == "fake" else FileStorage()
        self.exports: Exports = FakeExports(shelf) if which == "fake" else HostExports(directory / "x")

    async def a_volume(self, format: str, size: int = 16 * MIB) -> Attachment:
        await self.storage.ensure_pool(self.place, "job-1")
        volume = Volume(ID, self.place, format, size)
        await self.storage.ensure_volume(volume, "job-1", None)
        return self.storage.attachment(volume)

    async def fetched(self, attachment: Attachment, format: str) -> tuple[int, Path]:
        """What was announced, and all that came."""
        file = self.directory / f"fetched.{format}"
        async with self.exports.opened(attachment, format) as content:
            with file.open("wb") as output:
                async for piece in content.pieces:
                    output.write(piece)
            return content.length, file


@pytest.fixture(params=["host", "fake"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Bench:
    return Bench("host", tmp_path)


def write(attachment: Attachment, *commands: str) -> None:
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", attachment.format, *words, attachment.path], check=True, timeout=60, capture_output=True)


def check(file: Path) -> None:
    subprocess.run(["qemu-img", "check", "-f", "qcow2", file], check=True, timeout=60)


def is_same(attachment: Attachment, file: Path, format: str) -> bool:
    argv = ["qemu-img", "compare", "-f", attachment.format, "-F", format, attachment.path, str(file)]
    return subprocess.run(argv, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("kept_as", ["qcow2", "raw"])
@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_what_is_announced_is_what_comes(bench: Bench, kept_as: str, format: str) -> None:
    length, file = await bench.fetched(await bench.a_volume(kept_as), format)
    assert length == file.stat().st_size
    assert format == "qcow2" or length == 16 * MIB


async def test_a_disk_that_is_not_there_is_not_handed_out(bench: Bench) -> None:
    attachment = await bench.a_volume("qcow2")
    with pytest.raises(NotFound):
        async with bench.exports.opened(replace(attachment, path=attachment.path.replace(ID, ABOVE)), "raw"):
            pass


@pytest.mark.parametrize("kept_as", ["qcow2", "raw"])
@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_it_shows_what_the_disk_shows(host: Bench, kept_as: str, format: str) -> None:
    attachment = await host.a_volume(kept_as, 1200 * MIB + 512)
    write(attachment, "write -P 1 0 70k", "write -P 2 511M 2M", f"write -P 3 {1200 * MIB - 4096} 4608")
    length, file = await host.fetched(attachment, format)
    assert is_same(attachment, file, format)
    if format == "qcow2":
        check(file)
        assert length < 4 * MIB


async def test_what_lies_below_is_part_of_it(host: Bench) -> None:
    below = await host.a_volume("qcow2")
    write(below, "write -P 1 0 1M", "write -P 2 4M 1M")
    top = Volume(ABOVE, host.place, "qcow2", 16 * MIB)
    await host.storage.ensure_overlay(top, "job-2", Volume(ID, host.place, "qcow2", 16 * MIB))
    above = host.storage.attachment(top)
    write(above, "write -P 3 512k 1M", "write -z 4M 64k")
    _, file = await host.fetched(above, "qcow2")
    assert is_same(above, file, "qcow2")
    assert find_backing(file) == ""


@pytest.mark.parametrize("kept_as", ["qcow2", "raw"])
async def test_nobody_begins_to_write_to_a_disk_that_is_handed_out(host: Bench, kept_as: str) -> None:
    attachment = await host.a_volume(kept_as)
    async with host.exports.opened(attachment, "raw"):
        with pytest.raises(subprocess.CalledProcessError) as caught:
            write(attachment, "write 0 512")
        assert b"lock" in caught.value.stderr
    write(attachment, "write 0 512")


@pytest.mark.parametrize("kept_as", ["qcow2", "raw"])
async def test_a_disk_that_somebody_writes_to_is_not_handed_out(host: Bench, kept_as: str) -> None:
    attachment = await host.a_volume(kept_as)
    argv = ["stdbuf", "-oL", "qemu-io", "-f", kept_as, "-c", "write 0 512", "-c", "sleep 60000", attachment.path]
    writer = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert writer.stdout is not None
        await writer.stdout.readline()
        with pytest.raises(Refused, match="writes to it"):
            async with host.exports.opened(attachment, "raw"):
                pass
    finally:
        writer.kill()
        await writer.wait()
    await host.fetched(attachment, "raw")


async def test_whoever_stops_reading_leaves_no_process_and_no_socket(host: Bench) -> None:
    attachment = await host.a_volume("raw")
    async with host.exports.opened(attachment, "raw") as content:
        assert await anext(content.pieces)
        assert [words for _, words in command_lines() if attachment.path.encode() in words]
    assert [words for _, words in command_lines() if attachment.path.encode() in words] == []
    assert list((host.directory / "x").iterdir()) == []


async def test_a_reader_that_dies_is_an_error_and_not_the_end(host: Bench) -> None:
    attachment = await host.a_volume("raw", 64 * MIB)
    write(attachment, "write -P 1 0 64M")
    async with host.exports.opened(attachment, "raw") as content:
        assert await anext(content.pieces)
        for pid, words in command_lines():
            if attachment.path.encode() in words:
                os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            async for _ in content.pieces:
                pass
    assert (await host.fetched(attachment, "raw"))[0] == 64 * MIB
