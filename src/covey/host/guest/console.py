"""The serial consoles of guests: one reader a socket, any number of people attached to it."""

from __future__ import annotations

import os
from pathlib import Path

LOG_LIMIT = 2**20  # a guest that prints without end must not fill the machine's disk
LOG_KEPT = 256 * 1024


def console_tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a console log at most, for history and for error messages; empty when nothing was
    printed."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - size))
            return log.read(size)
    except FileNotFoundError:
        return b""


def trim_log(path: Path) -> None:
    """Cut a console log down to its last part once it has grown past its limit. QEMU appends, and so goes on at the new
    end; what it writes during the cut itself may be lost."""
    try:
        if path.stat().st_size <= LOG_LIMIT:
            return
    except FileNotFoundError:
        return
    kept = console_tail(path, LOG_KEPT)
    with path.open("r+b") as log:
        log.truncate(0)
    with path.open("ab") as log:
        log.write(kept)
