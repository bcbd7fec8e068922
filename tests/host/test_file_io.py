"""How QEMU reaches the files of disks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from covey.base.run import run
from covey.host.hypervisor.file_io import IO_URING, THREADS, find_file_io


@pytest.mark.parametrize("word", ["1", "2"])
def test_a_kernel_that_keeps_io_uring_from_some_leaves_threads(tmp_path: Path, word: str) -> None:
    switch = tmp_path / "io_uring_disabled"
    switch.write_text(f"{word}\n")
    assert find_file_io(switch) == THREADS


def test_a_kernel_without_the_switch_is_as_one_that_forbids_nothing(tmp_path: Path) -> None:
    switch = tmp_path / "io_uring_disabled"
    without = find_file_io(tmp_path / "absent")
    switch.write_text("0\n")
    assert without == find_file_io(switch)


def test_qemu_can_use_io_uring_exactly_where_it_is_found(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"c" * 4096)
    argv = ["qemu-img", "bench", "-q", "-f", "raw", "-c", "1", "-s", "4096", "-t", "writeback", "-i", IO_URING, str(disk)]
    usable = asyncio.run(run(argv, timeout_s=20, check=False)).status == 0
    assert find_file_io() == (IO_URING if usable else THREADS)
