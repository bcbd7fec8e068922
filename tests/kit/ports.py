"""Ports for servers that a test starts, and perhaps starts again."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, LAST = (
    20_000,
    29_999,
)  # below those that the kernel gives to whoever connects (ip(7), ip_local_port_range): it takes none meanwhile
SIDE_BY_SIDE = 5  # for the API, the agent, other controllers, and etcd's two
_candidates = itertools.cycle(range(FIRST, LAST - SIDE_BY_SIDE, SIDE_BY_SIDE))
for _ in range(os.getpid() * 97 % ((LAST - FIRST) // SIDE_BY_SIDE)):  # processes that test side by side begin at different ones
    next(_candidates)


def free_port() -> int:
    """One of the loopback on which nobody listens, nor on the four after it; no two calls give the same."""
    while True:
        port = next(_candidates)
        try:
            for number in range(port, port + SIDE_BY_SIDE):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
