"""How QEMU reaches the files of disks on this machine.

By io_uring it neither waits for threads of its own, nor does it hold up the guest while a file is given room, as the older asynchronous
I/O of Linux does. Containers and hardened kernels often forbid it, and QEMU does not start where it is told to use what it may not."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

THREADS, IO_URING = "threads", "io_uring"
_FORBIDDEN = Path("/proc/sys/kernel/io_uring_disabled")  # 0: nobody is; 1: all but root are; 2: everybody is
_IO_URING_SETUP = 425  # syscalls(2)
_SIZE_OF_PARAMETERS = 120  # struct io_uring_params


@functools.cache
def find_file_io(forbidden: Path = _FORBIDDEN) -> str:
    """io_uring where the kernel gives it to QEMU's user, else threads."""
    if forbidden.exists() and forbidden.read_text().strip() != "0":
        return THREADS
    parameters = ctypes.create_string_buffer(_SIZE_OF_PARAMETERS)
    ring = ctypes.CDLL(None).syscall(ctypes.c_long(_IO_URING_SETUP), ctypes.c_long(1), parameters)
    if ring < 0:
        return THREADS
    os.close(ring)
    return IO_URING
