"""A picture as PNG, of the PPM that QEMU makes."""

from __future__ import annotations

import re
import struct
import zlib

from covey.base.errors import StepFailed, check

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")


def png_of(ppm: bytes) -> bytes:
    """A P6 picture of 8 bits a channel as PNG (RFC 2083). Raises StepFailed for anything else."""
    header = _PPM.match(ppm)
    if header is None:
        raise StepFailed("the picture is of no form that is known here", "screen")
    width, height = int(header[1]), int(header[2])
    pixels = memoryview(ppm)[header.end() :]
    check(width and height and len(pixels) >= 3 * width * height, StepFailed("the picture is cut short", "screen"))
    rows = b"".join(b"\0" + pixels[start : start + 3 * width] for start in range(0, 3 * width * height, 3 * width))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 6)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
