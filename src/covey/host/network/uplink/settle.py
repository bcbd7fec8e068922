"""After a confirmation: the program that configured the card is told of the bridge. What it knows now is what its files say; else it
would give the card its address again, at the next renewal of a lease or the next time the cable is plugged in."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from pathlib import Path

from covey.base.errors import CoveyError
from covey.base.run import run
from covey.host.network.uplink import ifupdown, networkd
from covey.model.uplink import Takeover

_STATE = "run/network/ifstate"  # ifup(8): a line "LOGICAL=PHYSICAL" for what is up
_LEASES = "/var/lib/dhcp"
_DHCP_WITHIN_S = 60.0
_RELOAD_WITHIN_S = 30.0


async def settle(root: Path, done: Takeover) -> str:
    """What is left to a person, "" for nothing. A failure here takes nothing back: the bridge works, and the files are right."""
    try:
        if done.keeper == networkd.NAME:
            await run(["networkctl", "reload"], timeout_s=_RELOAD_WITHIN_S, object=done.bridge)
        elif done.keeper == ifupdown.NAME:
            _note_up(root, done.bridge)
            if _asks_dhcp(done):
                await _move_dhcp_client(root, done)
    except (CoveyError, OSError) as error:
        remedy = (
            "systemctl restart systemd-networkd" if done.keeper == networkd.NAME else f"ifdown {done.bridge}; ifup {done.bridge}"
        )
        return f"{done.keeper} was not told of it ({error}): at a quiet moment, {remedy}"
    return ""


def _note_up(root: Path, bridge: str) -> None:
    """ifupdown knows the bridge as up: else `ifdown` would pass it over."""
    path = root / _STATE
    if not path.parent.is_dir():
        return
    with path.with_name(".ifstate.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = path.read_text().splitlines() if path.exists() else []
        if f"{bridge}={bridge}" not in lines:
            path.write_text("".join(f"{line}\n" for line in (*lines, f"{bridge}={bridge}")))


def _asks_dhcp(done: Takeover) -> bool:
    pattern = re.compile(rf"^\s*iface\s+{re.escape(done.bridge)}\s+inet\s+dhcp\b", re.MULTILINE)
    return any(pattern.search(file.after or "") for file in done.files)


async def _move_dhcp_client(root: Path, done: Takeover) -> None:
    """As ifup would start it for the bridge. The card's own is killed, not asked to end: it would give its address back."""
    _kill_dhcp_client(root, done.uplink.name)
    argv = (
        *("dhclient", "-4", "-i", "-pf", f"/run/dhclient.{done.bridge}.pid"),
        *("-lf", f"{_LEASES}/dhclient.{done.bridge}.leases", "-df", f"{_LEASES}/dhclient6.{done.bridge}.leases", done.bridge),
    )
    await run(argv, timeout_s=_DHCP_WITHIN_S, object=done.bridge)


def _kill_dhcp_client(root: Path, nic: str) -> None:
    try:
        pid = int((root / f"run/dhclient.{nic}.pid").read_text())
        if (root / f"proc/{pid}/comm").read_text().strip() == "dhclient":
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):
        return  # there is none
