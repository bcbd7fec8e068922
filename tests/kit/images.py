"""Disk images as strangers send them, good ones and evil ones."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

MIB = 2**20
PATTERN = b"what the guest wrote".ljust(512, b"~")


async def pieces_of(data: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """The image in three pieces; with `error`, the last of them does not come."""
    third = len(data) // 3 + 1
    for start in range(0, len(data), third):
        if error and start >= 2 * third:
            raise error
        yield data[start : start + third]


def a_raw(size: int = 4 * MIB) -> bytes:
    return (PATTERN + bytes(MIB) + PATTERN).ljust(size, b"\0")


def converted(directory: Path, format: str, *options: str, size: int = 4 * MIB) -> bytes:
    """The same disk as another program's image."""
    raw, other = directory / "of.raw", directory / f"of.{format}"
    raw.write_bytes(a_raw(size))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", format, *options, raw, other], check=True, timeout=60)
    return other.read_bytes()


def a_qcow2(backing: bytes = b"", incompatible: int = 0, size: int = 4 * MIB) -> bytes:
    """A header, and an empty first table."""
    header = bytearray(4 * 65536)
    at, length = (1024, len(backing)) if backing else (0, 0)
    struct.pack_into(">4sIQIIQIIQQIIQ", header, 0, b"QFI\xfb", 3, at, length, 16, size, 0, 1, 3 * 65536, 65536, 1, 0, 0)
    struct.pack_into(">QQQII", header, 72, incompatible, 0, 0, 4, 104)
    header[at : at + length] = backing
    header[65536:65544] = struct.pack(">Q", 2 * 65536)
    header[2 * 65536 : 2 * 65536 + 8] = b"\0\1" * 4
    return bytes(header)


def a_vmdk(descriptor: bytes, capacity: int) -> bytes:
    """The header of a sparse VMDK; without capacity QEMU takes the descriptor in its place."""
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, capacity, 128, 1, 20)
    return (head.ljust(512, b"\0") + descriptor).ljust(2 * 65536, b"\0")


def evil(secret: Path) -> dict[str, bytes]:
    """Images that would show what is in another file, if they could."""
    path = str(secret).encode()
    start = b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
    flat = start + b'createType="monolithicFlat"\nRW 8 FLAT "' + path + b'" 0\n'
    child = start.replace(b"parentCID=ffffffff", b"parentCID=fffffffe") + b'parentFileNameHint="' + path + b'"\n'
    return {
        "a qcow2 with a backing file": a_qcow2(backing=path),
        "a qcow2 whose backing file is described": a_qcow2(backing=b'json:{"driver":"raw","file.filename":"' + path + b'"}'),
        "a qcow2 with a data file": a_qcow2(incompatible=1 << 2),
        "a VMDK that is a text": flat,
        "a VMDK whose header gives way to a text": a_vmdk(flat, 0),
        "a VMDK with a parent": a_vmdk(child, 8192),
        "a VMDK of the old form": b"COWD" + flat,
    }
