"""A root directory as a disk that a BIOS starts, written as files only: no loop device, no mount, nothing to undo.

The disk is a GPT with a BIOS boot partition, which takes GRUB's core, and the ext4 root as the last partition, so that
growpart can enlarge it. What `grub-install` would do on a mounted disk is done here on the image: GRUB's boot.img goes
to the first sector and is told where the core begins, and the core is told where its own rest is (GRUB manual, "BIOS
installation"; offsets from include/grub/i386/pc/boot.h of GRUB 2).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from covey.base.run import run
from covey.host.formats import SECTOR

CORE_SECTOR = 2048  # where the BIOS boot partition begins
ROOT_SECTOR = 4096  # where the root partition begins
_TAIL = 2048  # sectors kept at the end: the second GPT needs 33, and sfdisk ends partitions at whole MiB
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_LINUX_ROOT = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_KERNEL_SECTOR_AT = 0x5C  # in boot.img: u64, the core's first sector
_DRIVE_CHECK_AT = 0x66  # in boot.img: a jump, to be two NOPs on a hard disk
_BOOT_CODE_END = 0x1B8  # the rest of the sector is the partition table's
_REST_AT = SECTOR - 12  # in the core's first sector: u64, where its second sector is
_MODULES = ("biosdisk", "part_gpt", "ext2", "normal", "configfile", "linux", "search", "serial", "terminal", "echo", "test")


async def write_disk(root: Path, disk: Path, size: int, uuid: str) -> None:
    """Make `disk`, a raw image of `size` bytes, from the tree `root`; `uuid` becomes the root file system's. Raises
    StepFailed."""
    with disk.open("wb") as file:
        file.truncate(size)
    sectors = (size // SECTOR - ROOT_SECTOR - _TAIL) // 2048 * 2048
    await _write_partitions(disk, sectors)
    await _write_root(root, disk, sectors, uuid)
    await _write_boot_loader(root, disk)


async def _write_partitions(disk: Path, sectors: int) -> None:
    table = "\n".join(
        (
            "label: gpt",
            f"start={CORE_SECTOR}, size={ROOT_SECTOR - CORE_SECTOR}, type={_BIOS_BOOT}, name=bios",
            f"start={ROOT_SECTOR}, size={sectors}, type={_LINUX_ROOT}, name=root",
            "",
        )
    )
    argv = ("sfdisk", "--quiet", "--no-tell-kernel", "--no-reread", str(disk))
    await run(argv, timeout_s=60, stdin=table.encode(), object=disk, hint="install fdisk")


async def _write_root(root: Path, disk: Path, sectors: int, uuid: str) -> None:
    """The tree as ext4, written straight into its partition."""
    argv = (
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "covey-root", "-U", uuid, "-d", str(root)),
        *(
            "-E",
            f"offset={ROOT_SECTOR * SECTOR},lazy_itable_init=0,lazy_journal_init=0",
            str(disk),
            str(sectors * SECTOR // 4096),
        ),
    )
    await run(argv, timeout_s=900, object=disk, hint="install e2fsprogs")


async def _write_boot_loader(root: Path, disk: Path) -> None:
    """The image's own GRUB, so that core, modules and boot code are of one version."""
    core = root.parent / "core.img"
    argv = ("grub-mkimage", "-O", "i386-pc", "-p", "(,gpt2)/boot/grub", "-o", "/boot/core.img", *_MODULES)
    await run(("chroot", str(root), *argv), timeout_s=60, object=disk, hint="the recipe must install grub-pc")
    (root / "boot/core.img").rename(core)
    boot_code, rest = patched_boot_code((root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), core.read_bytes())
    with disk.open("r+b") as file:
        file.write(boot_code)
        file.seek(CORE_SECTOR * SECTOR)
        file.write(rest)
        file.flush()
        os.fsync(file.fileno())


def patched_boot_code(boot: bytes, core: bytes) -> tuple[bytes, bytes]:
    """The code for the first sector and the core, both told where the core lies."""
    first = bytearray(boot[:_BOOT_CODE_END])
    struct.pack_into("<Q", first, _KERNEL_SECTOR_AT, CORE_SECTOR)
    first[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = b"\x90\x90"
    second = bytearray(core)
    struct.pack_into("<Q", second, _REST_AT, CORE_SECTOR + 1)
    if len(second) > (ROOT_SECTOR - CORE_SECTOR) * SECTOR:
        raise ValueError(f"GRUB's core has {len(second)} bytes: more than the BIOS boot partition holds")
    return bytes(first), bytes(second)
