"""How long a disk of 1 GiB, all of it data, takes on its way in and out by the command line, until the job has ended or the file is written;
and how long until a disk no longer needs its image, with its guest stopped and running.

The floor, in the same run: `qemu-img convert` of the same file to where disks are, and `fsync` of the outcome, which ours have had, too.
An import writes twice: as it comes, so that it is checked before anything is made of it, and as a disk. Real libvirt and QEMU; medians of
alternating rounds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from bench.create import ROUNDS
from bench.rig import COVEY, Up, arguments, once, percentile, report, scratch
from covey.host.hypervisor.private import stop_private_libvirtd

MIB = 2**20
SIZE = 1024 * MIB


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        source = directory / "source.raw"
        make_source(source)
        up = Up(directory / "state")
        try:
            up.covey("cluster", "init", "bench", "--accelerator", "tcg")
            up.covey("image", "add", "image", "--source", str(source))
            up.covey("instance", "add", "empty", "--memory", "64M", "--no-start")
            taken: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for name, seconds in a_round(up, source, directory).items():
                    taken.setdefault(name, []).append(seconds)
        finally:
            up.stop()
            await stop_private_libvirtd(up.state)
    report(given, {name: percentile(values) for name, values in taken.items()})


def make_source(path: Path) -> None:
    """Of nothing that could be left out or packed."""
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def a_round(up: Up, source: Path, directory: Path) -> dict[str, float]:
    taken = {"floor_convert_1g_s": by_hand(source, up.state / "pools/default/floor")}
    taken["import_1g_s"] = covey(up, "disk", "import", "empty", str(source))
    taken["export_1g_s"] = covey(up, "disk", "export", "empty", "0", str(directory / "out.qcow2"))
    (directory / "out.qcow2").unlink()
    covey(up, "disk", "remove", "empty", "0", "--purge", "--yes")
    for name, start in (("flatten_stopped_1g_s", ("--no-start",)), ("flatten_running_1g_s", ())):
        covey(up, "instance", "add", "clone", "--image", "image", "--memory", "64M", *start)
        taken[name] = covey(up, "disk", "flatten", "clone", "0")
        covey(up, "instance", "remove", "clone", "--purge", "--yes")
    return taken


def covey(up: Up, *words: str) -> float:
    return once([str(COVEY), *words], up.environment)


def by_hand(source: Path, target: Path) -> float:
    begun = time.monotonic()
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, target], check=True)
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)
    taken = time.monotonic() - begun
    target.unlink()
    return taken


if __name__ == "__main__":
    asyncio.run(main())
