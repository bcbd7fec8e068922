"""What the drivers of files stand on: programs, and what they and the file system say, as our errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from covey.base.errors import BadInput, CoveyError, NoSpace, Refused, StepFailed, Unavailable
from covey.base.run import explain, run
from covey.base.units import humane_size
from covey.host.faults import FULL
from covey.model.pool import Place, Space, Volume

_PERCENT = re.compile(r"\(\s*([0-9.]+)/100%\)")
NOT_INSTALLED = 127  # setpriv(1): the status when it cannot execute the command


@contextmanager
def told_apart(place: Place, volume: Volume | None = None) -> Iterator[None]:
    """Turn what the file system says into our errors: full, too large for it, or out of order."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_space(place, volume) from error
        if error.errno in (errno.EFBIG, errno.EINVAL) and volume:
            raise too_large(place, volume) from error
        raise Unavailable(f"the file system answers: {error}", place.path, "look at its mount and at the kernel's log") from error


def no_space(place: Place, volume: Volume | None, needed: int = 0) -> CoveyError:
    free = space(place).free
    missing = humane_size(max(needed - free, 4096))
    what = f"no space for volume {volume.id}" if volume else "no space"
    return NoSpace(f"{what}: {humane_size(free)} free, at least {missing} missing", place.path, "free some, or use another pool")


def too_large(place: Place, volume: Volume) -> CoveyError:
    return BadInput(
        f"{humane_size(volume.size)} is more than a file may have on the file system of {place.path}",
        volume.id,
        "give a smaller size, or use qcow2 or a pool on XFS",
    )


def space(place: Place) -> Space:
    """What the file system has for those who are not root: QEMU is not."""
    status = os.statvfs(place.path)
    return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


async def image_tool(volume: Volume, arguments: tuple[str, ...]) -> None:
    await tool(volume, ("qemu-img", *arguments), timeout_s=60)


async def tool(volume: Volume, argv: tuple[str, ...], timeout_s: float, told: Callable[[float], None] | None = None) -> None:
    """Run a tool and tell the ways apart in which it fails for the disk's sake. It dies with this process: a copy that
    goes on by itself would write to a file that the next ensure begins anew. `told` hears which part of the whole is done."""
    mortal = ("setpriv", "--pdeathsig", "KILL", *argv)
    follow = _follower(told) if told else None
    done = await run(mortal, timeout_s=timeout_s, check=False, on_line=follow, object=volume.id, hint="install util-linux")
    said = (done.stderr or done.stdout).decode(errors="replace")
    if done.status == 0:
        return
    if done.status == NOT_INSTALLED:
        raise Unavailable(f"the program {argv[0]} is not installed", volume.id, "install qemu-utils")
    if any(os.strerror(number) in said for number in FULL):
        raise no_space(volume.place, volume)
    if os.strerror(errno.EFBIG) in said:
        raise too_large(volume.place, volume)
    if 'Failed to get "write" lock' in said or "Failed to get shared" in said:
        raise Refused("the volume is open in a running guest, or exported", volume.id, "stop the guest, or wait for the export")
    raise StepFailed(explain(argv, done.status, said.encode()), volume.id)


def _follower(told: Callable[[float], None]) -> Callable[[str], None]:
    """Reads qemu-img's progress: lines such as "(12.34/100%)"."""

    def follow(line: str) -> None:
        match = _PERCENT.search(line)
        if match:
            told(float(match[1]) / 100)

    return follow
