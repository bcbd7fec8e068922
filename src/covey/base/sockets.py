"""Lines on which much is sent at once."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

LINE = "covey.line"  # in scope["state"]: the socket by which a request came
WIDE = 2**22  # bytes
_FORCED = 32  # SO_SNDBUFFORCE, socket(7): beyond the administrator's limit, for root alone


def widen(line: Any) -> None:
    """So much may be on its way by a unix socket, as far as we are allowed to. Usually it is 200 KB: on a busy machine either side then waits
    for a processor after each of them, thousands of times for a disk. TCP widens by itself."""
    if line.family == socket.AF_UNIX:
        for option in (socket.SO_SNDBUF, _FORCED):
            with contextlib.suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, option, WIDE)
