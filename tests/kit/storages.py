"""Storage templates and their fakes on a bench, where a test can look behind them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from covey.host.shelf import FileShelf
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
