"""The door to netlink, and what the kernel can do."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from covey.base.errors import StepFailed, Unavailable

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, unshare(2)


@contextmanager
def netlink(object: str) -> Iterator[Any]:
    """A socket to the kernel; its refusals become errors of ours."""
    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise Unavailable("this process may not change the network", object, "run it as root") from error
        raise StepFailed(f"the kernel refused the change: {error.args[1]}", object, "see: dmesg") from error
    except PermissionError as error:
        raise Unavailable("this process may not change the network", object, "run it as root") from error


TAP = "tap"
_TAPS = Path("/dev/net/tun")


def find_missing_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Which of these kinds of interface (bridge, vlan, vxlan, tap) the kernel cannot make: each is made, in a network namespace that is
    gone at once; but for taps, which are made by a device file. The kernel loads the module that it needs, if it has it."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_try_kinds, kinds).result()


def _try_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    missing = []
    _unshare()
    with netlink("this machine") as kernel:
        kernel.link("add", ifname="base", kind="veth", peer="basepeer")
        base = kernel.link_lookup(ifname="base")[0]
        for kind in kinds:
            if kind == TAP:
                missing += [] if _TAPS.is_char_device() else [TAP]
                continue
            more: dict[str, Any] = {"link": base, "vlan_id": 7} if kind == "vlan" else {}
            more |= {"vxlan_id": 7} if kind == "vxlan" else {}
            try:
                kernel.link("add", ifname=f"try-{kind}", kind=kind, **more)
            except NetlinkError:
                missing.append(kind)
    return tuple(missing)


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
