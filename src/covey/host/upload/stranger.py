"""Images of strangers, told by their own bytes before any program opens them.

An image may name other files, and QEMU would open whatever they are: a qcow2 its backing file and its data file, a VMDK its parent and
its extents. So what names any is refused here, from the header alone; what is left is only ever opened as the format that was found, with
no backing file, and by a process that may take little memory and write little.

What QEMU follows: docs/interop/qcow2.txt; block/vmdk.c (a header without capacity is replaced by the descriptor that it points to, which
names extents; parentFileNameHint names a parent). VDI and VHDX with a parent are refused by QEMU itself (block/vdi.c, block/vhdx.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from covey.base.errors import BadInput, check
from covey.host.formats import tell_format

HEAD = 2**16  # bytes that tell
FORMATS = ("raw", "qcow2", "vmdk", "vdi", "vhdx")
_HINTS = {
    "vhd": "convert it first: qemu-img convert -f vpc -O qcow2",
    "vmdk": "make it one file that stands alone: qemu-img convert -f vmdk -O qcow2",
    "qcow2": "make it stand alone: qemu-img convert -f qcow2 -O qcow2",
    **dict.fromkeys(("gzip", "xz", "bzip2", "zstd", "zip"), "unpack it first"),
}
_VMDK_DESCRIPTOR = slice(0x200, 0x200 + 20 * 512)  # what QEMU searches for a parent
_VDI_SIZE_AT = 0x170


def check_stranger(head: bytes, length: int, declared: str, label: str) -> str:
    """The format that an image is to be opened as, by its first bytes. Raises BadInput."""
    check(
        declared in ("", *FORMATS),
        BadInput(f"{declared[:40]!r} is no format that is read", label, f"there are: {', '.join(FORMATS)}"),
    )
    check(length > 0, BadInput("nothing came", label, "is the file empty?"))
    if declared == "raw":
        return "raw"  # whatever it holds: it is not looked into
    found = tell_format(head, length)
    check(
        found.name in FORMATS,
        BadInput(
            f"it is {found.name}, which is not read here",
            label,
            _HINTS.get(found.name, "convert it first: qemu-img convert -O qcow2"),
        ),
    )
    check(
        not declared or declared == found.name, BadInput(f"it is {found.name}, not {declared}", label, f"say --from {found.name}")
    )
    check(found.complete, BadInput("it refers to another file", label, _HINTS["qcow2"]))
    check(not found.flaw, BadInput(found.flaw, label, "look at it: qemu-img check"))
    if found.name == "vmdk":
        _check_vmdk(head, label)
    return found.name


def _check_vmdk(head: bytes, label: str) -> None:
    hosted = head.startswith(b"KDMV") and len(head) >= 512
    capacity = struct.unpack_from("<Q", head, 12)[0] if hosted else 0
    check(capacity, BadInput("it is a VMDK that refers to other files, or of an old form", label, _HINTS["vmdk"]))
    check(
        b"parentFileNameHint" not in head[_VMDK_DESCRIPTOR],
        BadInput("it refers to another file, its parent", label, _HINTS["vmdk"]),
    )


def guess_size(head: bytes, format: str, length: int) -> int:
    """Bytes that a guest would see, as the header says: for those who have no QEMU to ask."""
    if format == "qcow2":
        return tell_format(head, length).size
    if format == "vmdk":
        return int(struct.unpack_from("<Q", head, 12)[0]) * 512
    if format == "vdi" and len(head) >= _VDI_SIZE_AT + 8:
        return int(struct.unpack_from("<Q", head, _VDI_SIZE_AT)[0])
    return -(-length // 512) * 512


def check_alone(answer: dict[str, Any], path: str, label: str) -> None:
    """What `qemu-img info` says of the image at `path` names no other file: a net below the net. Raises BadInput."""
    others = [name for name in _files_in({**answer, "filename": path}) if name != path]
    check("backing-filename" not in answer and not others, BadInput("it refers to another file", label, _HINTS["qcow2"]))


def _files_in(answer: object) -> Iterator[str]:
    if isinstance(answer, list):
        for each in answer:
            yield from _files_in(each)
    elif isinstance(answer, dict):
        for key, value in answer.items():
            if isinstance(value, str) and (key.endswith("filename") or key == "data-file"):
                yield value
            yield from _files_in(value)
