"""A guest's screen as PNG."""

from __future__ import annotations

import struct
import zlib

import pytest

from covey.base.errors import StepFailed
from covey.host.hypervisor.png import png_of


def pixels_of(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels of a PNG as this code writes it, each chunk checked."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour, list(chunks)) == (8, 2, [b"IHDR", b"IDAT", b"IEND"])
    rows = zlib.decompress(chunks[b"IDAT"])
    return width, height, b"".join(rows[start + 1 : start + 1 + 3 * width] for start in range(0, len(rows), 3 * width + 1))


@pytest.mark.parametrize("head", [b"P6\n3 2\n255\n", b"P6 3 2 255 "])
def test_every_pixel_comes_through(head: bytes) -> None:
    pixels = bytes(range(18))
    assert pixels_of(png_of(head + pixels)) == (3, 2, pixels)


def test_black_takes_hardly_any_room() -> None:
    assert len(png_of(b"P6\n720 400\n255\n" + bytes(720 * 400 * 3))) < 4000


@pytest.mark.parametrize(
    "picture", [b"", b"P5\n1 1\n255\n0", b"P6\n2 2\n255\n" + bytes(11), b"P6\n0 0\n255\n", b"P6\n99999999 1\n255\n"]
)
def test_what_is_no_picture_is_refused(picture: bytes) -> None:
    with pytest.raises(StepFailed):
        png_of(picture)
