"""What a lab machine's kernel starts first: a few modules and busybox, which hand over to the disk. Debian's own takes seconds more."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from covey.base.run import run

MODULES = ("virtio_pci", "virtio_blk", "ext4")
_APPLETS = ("sh", "mount", "umount", "insmod", "switch_root", "sleep", "findfs", "poweroff")
_INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /lib/$module; done
tries=0
until root=$(findfs LABEL={label}); do
    tries=$((tries + 1)); [ $tries -lt 100 ] || poweroff -f
    sleep 0.1
done
mount -t ext4 -o rw,noatime "$root" /mnt || poweroff -f
mount --move /dev /mnt/dev; umount /sys; umount /proc
exec switch_root /mnt /sbin/init
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive; directories and links have their kind in `mode`."""

    name: str
    mode: int
    data: bytes = b""


async def write_initramfs(path: Path, root: Path, version: str, label: str) -> None:
    """An archive that mounts the file system `label` and starts its init; busybox and the modules of kernel
    `version` are taken from the tree `root`."""
    modules = await _modules(root, version)
    init = _INIT.replace("{label}", label).replace("{modules}", " ".join(module.name for module in modules))
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "proc", "sys", "mnt", "lib")]
    entries += [
        Entry("bin/busybox", stat.S_IFREG | 0o755, (root / "bin/busybox").read_bytes()),
        Entry("init", stat.S_IFREG | 0o755, init.encode()),
    ]
    entries += [Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox") for applet in _APPLETS]
    entries += [Entry(f"lib/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()) for module in modules]
    path.write_bytes(gzip.compress(archive(entries), 1))


async def _modules(root: Path, version: str) -> list[Path]:
    """The modules and what they need, in the order in which they are to be loaded."""
    found: dict[Path, None] = {}
    for module in MODULES:
        argv = ("chroot", str(root), "modprobe", "--set-version", version, "--show-depends", module)
        for line in (await run(argv, timeout_s=30, object=version)).text.splitlines():
            word, _, file = line.strip().partition(" ")
            if word == "insmod":
                found[root / file.split()[0].lstrip("/")] = None
    return list(found)


def archive(entries: Iterable[Entry]) -> bytes:
    """The "newc" form of cpio(5), as the kernel reads it."""
    written = b""
    for number, entry in enumerate((*entries, Entry("TRAILER!!!", 0)), start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        written += _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + name) + _padded(entry.data)
    return written


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
