"""Where the files of a hypervisor and of its guests are on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import Refused

LONGEST_SOCKET = 107  # bytes of a unix socket's path, unix(7): sun_path holds 108 with its closing zero
_A_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class LibvirtFiles:
    """The directories of one libvirtd as seen from here: its own may be elsewhere (see private.py)."""

    definitions: Path = Path("/etc/libvirt")
    runtime: Path = Path("/run/libvirt")
    logs: Path = Path("/var/log/libvirt")


@dataclass(frozen=True, slots=True)
class GuestFiles:
    """The files of one guest. Only `vnc`'s directory may be written by the QEMU user: whoever breaks out of a guest must not be able
    to plant links where Covey reads."""

    directory: Path
    console: Path
    console_log: Path
    ready: Path
    agent: Path
    vnc: Path
    run: Path
    seed: Path
    nvram: Path
    kept_nvram: Path  # as it was when the instance was removed

    @property
    def sockets(self) -> tuple[Path, ...]:
        return (self.console, self.ready, self.agent, self.vnc)


def seed_beside(directory: Path) -> Callable[[str], Path]:
    """The usual place of cloud-init seeds: in the guest's own directory."""
    return lambda instance: directory / instance / "seed.iso"


def guest_files(directory: Path, instance: str, seed: Path) -> GuestFiles:
    """The files of `instance` below `directory`. Raises Refused when a socket's path would be too long for the kernel."""
    own = directory / instance
    files = GuestFiles(
        directory=own,
        console=own / "console.sock",
        console_log=own / "console.log",
        ready=own / "ready.sock",
        agent=own / "agent.sock",
        vnc=own / "vnc" / "vnc.sock",
        run=own / "run.json",
        seed=seed,
        nvram=own / "nvram.fd",
        kept_nvram=directory / "removed" / f"{instance}.fd",
    )
    for socket in files.sockets:
        check_socket_path(socket)
    return files


def check_directory(directory: Path) -> None:
    """Raises Refused when guests' sockets below `directory` would have too long a path."""
    guest_files(directory, _A_UUID, Path("/"))


def check_socket_path(path: Path) -> None:
    """Raises Refused when the kernel could not bind `path`."""
    length = len(str(path).encode())
    if length > LONGEST_SOCKET:
        raise Refused(
            f"the path of a unix socket would have {length} bytes, and the kernel allows {LONGEST_SOCKET}: {path}",
            f"directory {path.parent}",
            f"use a directory whose path is at least {length - LONGEST_SOCKET} bytes shorter",
        )
