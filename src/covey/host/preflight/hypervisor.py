"""libvirt, QEMU, and guests of somebody else, which Covey does not touch."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from covey.base.errors import CoveyError
from covey.base.run import run
from covey.model.preflight import ERROR, OK, Finding

SOCKET = "run/libvirt/libvirt-sock"
DEFINED = "etc/libvirt/qemu"
PROGRAMS = (
    ("libvirtd", "libvirt-daemon-system"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("nft", "nftables"),
)
_NAMED = re.compile(rb"guest=([^,\0]+)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def look_at_programs() -> tuple[Finding, ...]:
    return tuple([await _look_at_program(program, package) for program, package in PROGRAMS])


async def _look_at_program(program: str, package: str) -> Finding:
    try:
        told = await run([program, "--version"], timeout_s=20, object=program)
    except CoveyError as error:
        return Finding(ERROR, program, error.what, "", f"apt install {package}")
    return Finding(OK, program, told.text.splitlines()[0].strip() if told.text.strip() else "is there")


def look_at_libvirt(root: Path) -> Finding:
    """The system's libvirt. Covey starts one of its own, and shares nothing with it."""
    runs = _is_listened_on(root / SOCKET)
    return Finding(OK, "libvirt of the system", f"{'runs' if runs else 'does not run'}; Covey has one of its own beside it")


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def look_at_foreign_guests(root: Path) -> tuple[Finding, ...]:
    """Guests that are none of Covey's: defined in the system's libvirt, or running."""
    running = set(_running(root / "proc"))
    defined = set(_defined(root / DEFINED))
    found = [
        Finding(OK, f"guest {name}", f"{'runs' if name in running else 'is defined'}; not Covey's: it will not be touched")
        for name in sorted(running | defined)
    ]
    return tuple(found) or (Finding(OK, "guests", "none but Covey's"),)


def _defined(folder: Path) -> Iterator[str]:
    for file in folder.glob("*.xml"):
        try:
            name = ElementTree.parse(file).findtext("name")  # noqa: S314  (libvirt's own file, root's to write)
        except (OSError, ElementTree.ParseError):
            name = file.stem
        yield name or file.stem


def _running(proc: Path) -> Iterator[str]:
    """Names of guests by QEMU's command lines. Covey's are called by their UUID (decision 0008)."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if b"qemu-system" in words.split(b"\0", 1)[0]:
            match = _NAMED.search(words)
            name = match[1].decode(errors="replace") if match else f"QEMU of process {entry.name}"
            if not _UUID.fullmatch(name):
                yield name
