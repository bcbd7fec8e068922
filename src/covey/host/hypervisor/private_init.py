"""Starts a private libvirtd, in a mount namespace of its own: run by private.py as `python -m ... DIRECTORY [--hide-kvm]
[--foreground]`.

A small process stays behind as its keeper, for as long as libvirtd or a guest of it lives: it collects the exit status of whatever
ends. QEMU leaves its parent at its start, and libvirtd takes a guest for alive until somebody has collected it; the first process of
a container may do so only every few seconds, or never. With --foreground, systemd is that keeper.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from pathlib import Path

from covey.base.run import run

PROGRAM = "/usr/sbin/libvirtd"
# What libvirtd has compiled in, and where it is below the private directory.
BINDINGS = (
    ("etc", Path("/etc/libvirt")),
    ("run", Path("/run/libvirt")),
    ("lib", Path("/var/lib/libvirt")),
    ("cache", Path("/var/cache/libvirt")),
    ("log", Path("/var/log/libvirt")),
)
KVM_DEVICE = Path("/dev/kvm")
HIDE_KVM = "--hide-kvm"
FOREGROUND = "--foreground"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


async def bind(directory: Path, hide_kvm: bool) -> None:
    """Lay the private directories over libvirt's own, in this mount namespace only. Raises StepFailed."""
    for name, target in BINDINGS:
        target.mkdir(parents=True, exist_ok=True)
        await _mount("--bind", str(directory / name), str(target))
    if hide_kvm and KVM_DEVICE.exists():
        # libvirtd looks as root and sees a device, its QEMU may not open it, and so libvirtd asks QEMU anew what it can do, two
        # seconds each time, before every order. What even root cannot write it takes for absent: a plain file, mounted read-only.
        cover = directory / "no-kvm"
        cover.touch()
        await _mount("--bind", str(cover), str(KVM_DEVICE))
        await _mount("-o", "remount,bind,ro", str(KVM_DEVICE))


async def _mount(*arguments: str) -> None:
    await run(["mount", "-n", *arguments], timeout_s=20, object=f"directory {arguments[-1]}")


def keep(directory: Path) -> None:
    """Start libvirtd in a process that stays as its keeper, and end with libvirtd's word on how that went."""
    receiver, sender = os.pipe()
    if os.fork() != 0:
        os.close(sender)
        raise SystemExit(int(os.read(receiver, 16) or b"1"))
    os.setsid()
    os.chdir("/")
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    daemon = os.posix_spawn(PROGRAM, [*_command(directory), "--daemon"], dict(os.environ))
    status = os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1])
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.write(sender, b"%d" % abs(status))
    os.close(sender)
    collect()


def _command(directory: Path) -> list[str]:
    return [PROGRAM, "--pid-file", str(directory / "libvirtd.pid"), "--config", str(directory / "etc/libvirtd.conf")]


def collect() -> None:
    """Collect whatever ends, until nothing is left."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main(directory: Path, hide_kvm: bool, in_foreground: bool) -> None:
    if Path("/proc/self/ns/mnt").stat().st_ino == Path(f"/proc/{os.getppid()}/ns/mnt").stat().st_ino:
        raise SystemExit("this is not a mount namespace of its own: to be started by covey.host.hypervisor.private only")
    asyncio.run(bind(directory, hide_kvm))
    if in_foreground:
        os.execv(PROGRAM, _command(directory))  # noqa: S606  (no shell, and this process is to be it)
    keep(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), HIDE_KVM in sys.argv[2:], FOREGROUND in sys.argv[2:])
