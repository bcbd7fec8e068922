"""What a disk file is, told by its first bytes; no process is started and no lock is taken, so a file in use can be
asked too.

Layout of the qcow2 header: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
MOST_MEMORY = 2**32  # bytes of address space for a tool that opens what a stranger wrote
LARGEST_QCOW2 = 2**51  # bytes: what a qcow2 with clusters of 64 KiB can map (its first-level table is at most 32 MiB)

LONGEST_BACKING = 1023  # bytes of a backing file's name in a qcow2
_QCOW2_MAGIC = b"QFI\xfb"
_CORRUPT, _EXTERNAL_DATA = 1 << 1, 1 << 2  # bits of the incompatible features
_KNOWN_FEATURES = 0b11111  # of those: what QEMU 7.2 reads
_CLUSTER_BITS = range(9, 22)
_FOREIGN = (
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"QED\0", "qed"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
)


@dataclass(frozen=True, slots=True)
class DiskFormat:
    """`name` is qcow2, raw, or that of a format Covey does not take. `size` is what a guest sees, bytes; `complete` is
    false when part of what the guest would read lies in another file; `flaw` says why QEMU could not read it, if that is known."""

    name: str
    size: int
    complete: bool = True
    flaw: str = ""


def find_format(path: Path) -> DiskFormat:
    """The format of a file by its content. A qcow2 cut off within its header counts as raw. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(SECTOR)
        return tell_format(head, file.seek(0, 2))


def tell_format(head: bytes, file_size: int) -> DiskFormat:
    """The format of a file that begins so."""
    if head.startswith(_QCOW2_MAGIC) and len(head) >= 104:
        return _parse_qcow2(head)
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return DiskFormat(name, file_size)
    return DiskFormat("raw", file_size)


def find_size(path: Path, format: str) -> int:
    """Bytes that a guest sees of a volume whose format is recorded. Its content is not asked for the format: a guest
    can write a qcow2 header into its raw disk. Raises OSError, ValueError when a qcow2 has no header."""
    if format == "raw":
        return path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SECTOR)
    if not head.startswith(_QCOW2_MAGIC) or len(head) < 104:
        raise ValueError(f"{path} has no qcow2 header")
    return _parse_qcow2(head).size


def find_backing(path: Path) -> str:
    """The file that a qcow2 says it lies on; "" for none. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(SECTOR)
        if not head.startswith(_QCOW2_MAGIC) or len(head) < 104:
            return ""
        offset, length = struct.unpack_from(">QI", head, 8)
        if not offset or length > LONGEST_BACKING:
            return ""
        file.seek(offset)
        return file.read(length).decode(errors="replace")


def round_up(size: int, unit: int = SECTOR) -> int:
    return -(-size // unit) * unit


def _parse_qcow2(head: bytes) -> DiskFormat:
    version, backing = struct.unpack_from(">IQ", head, 4)
    cluster_bits, size, encryption = struct.unpack_from(">IQI", head, 20)
    (incompatible,) = struct.unpack_from(">Q", head, 72) if version >= 3 else (0,)
    flaw = ""
    if version not in (2, 3) or cluster_bits not in _CLUSTER_BITS or incompatible & ~_KNOWN_FEATURES:
        flaw = "its qcow2 header is damaged, or of a later version of QEMU"
    elif encryption:
        flaw = "the qcow2 is encrypted"
    elif incompatible & _CORRUPT:
        flaw = "the qcow2 is marked as corrupt"
    return DiskFormat("qcow2", size, backing == 0 and not incompatible & _EXTERNAL_DATA, flaw)


def alone(path: str, format: str) -> str:
    """A file as QEMU's tools are to open it when a stranger wrote it: as this format and no other, with nothing below it, whatever its
    header says."""
    return f"json:{json.dumps({'driver': format, 'file': {'driver': 'file', 'filename': path}, 'backing': None})}"


def bounds(most_written: int) -> tuple[str, ...]:
    """What goes before a tool that opens such a file: it may take so much memory, and write no file of more bytes than these."""
    return ("prlimit", f"--as={MOST_MEMORY}", f"--fsize={most_written}", "--core=0", "setpriv", "--no-new-privs")
