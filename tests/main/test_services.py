"""Agent and controller as systemd runs them: one by one, without `covey up`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.errors import Refused
from covey.main.layout import Choices, alone, prepare
from tests.kit.covey_up import COVEY


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "n"))
        ear.settimeout(60)
        yield ear


def service(program: str, directory: Path) -> subprocess.Popen[bytes]:
    places = ("--state", str(directory / "s"), "--sockets", str(directory))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "covey.main", program, "--hosts", "fake", *places],
        env={**os.environ, "NOTIFY_SOCKET": str(directory / "n"), "WATCHDOG_USEC": "3000000"},
    )


def heard(ear: socket.socket, word: bytes) -> None:
    """Wait until that word comes; signs of life come in between, also of others when its sender has died."""
    deadline = time.monotonic() + 60
    while word not in ear.recv(1000).split(b"\n"):
        assert time.monotonic() < deadline, f"nobody said {word!r}"


def test_services_say_when_they_are_ready_share_a_state_directory_and_keep_covey_up_from_it(
    tmp_path: Path, ear: socket.socket
) -> None:
    running = []
    try:
        for program in ("agent", "controller"):
            running.append(service(program, tmp_path))
            heard(ear, b"READY=1")
        heard(ear, b"WATCHDOG=1")
        assert (tmp_path / "covey.sock").is_socket()
        assert (tmp_path / "s/covey.sock").readlink() == tmp_path / "covey.sock", "the state directory leads to it"
        up = [str(COVEY), "up", "--state", str(tmp_path / "s"), "--hosts", "fake"]
        refused = subprocess.run(up, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert "another covey runs on this state directory" in refused.stderr
    finally:
        for each in reversed(running):
            each.send_signal(signal.SIGTERM)
            heard(ear, b"STOPPING=1")
    for each in running:
        assert each.wait(timeout=30) == 0


def test_no_service_begins_while_covey_up_has_the_state_directory(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "s", "fake")
    prepare(choices.layout)
    with alone(choices.state), pytest.raises(Refused, match="another covey"), alone(choices.state, among_services=True):
        pass
    with alone(choices.state, among_services=True), alone(choices.state, among_services=True):
        pass
