"""What systemd hears of a service."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from covey.base.clock import SystemClock
from covey.base.notify import show_life, tell_systemd, watchdog_period


def listen(address: str) -> socket.socket:
    """The end at which systemd listens."""
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(address)
    ear.settimeout(5)
    return ear


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_says_that_it_is_ready(tmp_path: Path, abstract: bool) -> None:
    path = str(tmp_path / "notify")
    with listen("\0" + path if abstract else path) as ear:
        tell_systemd("READY=1", "STATUS=leads", environ={"NOTIFY_SOCKET": f"@{path}" if abstract else path})
        assert ear.recv(1000) == b"READY=1\nSTATUS=leads"


def test_without_systemd_nothing_is_said() -> None:
    tell_systemd("READY=1", environ={})


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),  # it is meant for another
    ],
)
def test_a_sign_of_life_is_due_when_systemd_says_so(environ: dict[str, str], period: float) -> None:
    assert watchdog_period(environ) == period


async def test_signs_of_life_come_as_long_as_the_loop_turns(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listen(path) as ear:
        life = asyncio.create_task(show_life(SystemClock(), {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000"}))
        for _ in range(3):
            assert await asyncio.to_thread(ear.recv, 1000) == b"WATCHDOG=1"
        life.cancel()


async def test_where_no_sign_of_life_is_due_none_is_given() -> None:
    await show_life(SystemClock(), {})
