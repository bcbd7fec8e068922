"""What systemd is told by the services it starts (sd_notify(3)): one datagram, and nothing at all where nobody listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from covey.base.clock import Clock


def tell_systemd(*words: str, environ: Mapping[str, str] = os.environ) -> None:
    """Say `READY=1`, `STATUS=...` and the like to whoever supervises this process."""
    door = environ.get("NOTIFY_SOCKET", "")
    if not door:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto("\n".join(words).encode(), "\0" + door[1:] if door.startswith("@") else door)


def watchdog_period(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds within which a sign of life is expected of this process; 0 when none is."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(environ.get("WATCHDOG_USEC", "0")) / 1e6


async def show_life(clock: Clock, environ: Mapping[str, str] = os.environ) -> None:
    """Give a sign of life three times a period, until cancelled. It comes from the event loop: one that hangs gives none, and the
    process is killed and started again."""
    period = watchdog_period(environ)
    while period:
        tell_systemd("WATCHDOG=1", environ=environ)
        await clock.sleep(period / 3)
