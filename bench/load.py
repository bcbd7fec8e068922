"""The guest that does what it is ordered to do with its disk and its NIC (load.c), and how it is asked."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.micro_linux import (
    AS_DISK,
    COMMAND_LINE,
    directories,
    ensure_made,
    fetch_kernel,
    file,
    modules,
    write_content,
    write_image,
)

from covey.base.run import run

SOURCE = Path(__file__).with_name("load.c")
MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
ADDRESS = "10.77.0.80"
PORT = 7777
UP_WITHIN_S = 60.0
DONE_WITHIN_S = 60.0
MIB = 2**20
NEW_NETWORK = 0x40000000  # CLONE_NEWNET, setns(2)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the guest: `verb` and `how` as load.c says, `count` times `block` bytes, `depth` at a time."""

    name: str
    verb: str
    how: str
    depth: int
    block: int
    count: int

    @property
    def size(self) -> int:
        return self.block * self.count


AWAKE = Load("awake", "read", "sequential", 1, 4096, 1)


async def ensure_image() -> Path:
    """The disk that it boots from. Raises StepFailed when the kernel cannot be had."""
    return await ensure_made("load-guest", [Path(__file__), SOURCE], _make)


async def _make(scratch: Path) -> Path:
    program = scratch / "init"
    await run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE)], timeout_s=120)
    root = await fetch_kernel(scratch)
    found = modules(root, MODULES)
    order = "".join(f"/modules/{name}\n" for name, _ in found)
    entries = [
        *directories("dev", "modules"),
        file("init", program.read_bytes(), 0o755),
        *(file(f"modules/{name}", data) for name, data in found),
        file("modules/order", order.encode()),
    ]
    image = scratch / "load.iso"
    write_content(scratch / "content", root, entries, f"{COMMAND_LINE} nokaslr norandmaps ADDRESS={ADDRESS}")
    await write_image(image, scratch / "content", *AS_DISK)
    return image


def await_guest(netns: str) -> None:
    """The guest answers. Raises TimeoutError."""
    deadline = time.monotonic() + UP_WITHIN_S
    while True:
        try:
            perform(netns, AWAKE)
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest in {netns} does not answer within {UP_WITHIN_S:g} s") from None
            time.sleep(0.1)
        else:
            return


def perform(netns: str, load: Load) -> float:
    """Seconds that the guest in that network namespace takes for a load, from the order to its answer."""
    with _within(netns), socket.create_connection((ADDRESS, PORT), timeout=DONE_WITHIN_S) as peer:
        begun = time.monotonic()
        peer.sendall(f"{load.verb} {load.how} {load.depth} {load.block} {load.count}\n".encode())
        if load.verb == "take":
            _send(peer, load.size)
        elif load.verb == "send":
            _receive(peer, load.size)
        answer = peer.recv(1)
        taken = time.monotonic() - begun
    if answer != b"D":
        raise OSError(f"the guest in {netns} failed at {load}")
    return taken


def _send(peer: socket.socket, size: int) -> None:
    content = memoryview(b"c" * MIB)
    while size > 0:
        size -= peer.send(content[:size])


def _receive(peer: socket.socket, size: int) -> None:
    content = memoryview(bytearray(MIB))
    while size > 0:
        got = peer.recv_into(content[:size])
        if not got:
            raise OSError("the guest hung up")
        size -= got


@contextmanager
def _within(netns: str) -> Iterator[None]:
    """This thread makes its sockets in that network namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")
