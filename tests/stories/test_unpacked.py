"""What is in a package is whole: it runs where it was unpacked, with nothing else in reach."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.kit.installed import make_package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_package_of_a_node_holds_all_that_its_agent_needs(tmp_path: Path) -> None:
    """Unpacked, and run by Debian's Python with nothing else in reach; on pretended hosts."""
    package = make_package(tmp_path, "0.1.0", "covey-node")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path / "root")], check=True, timeout=60)
    python = tmp_path / "root/usr/lib/covey/bin/python"
    places = ("--state", str(tmp_path / "s"), "--sockets", str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "n"))
        ear.settimeout(60)
        agent = subprocess.Popen(
            [python, "-P", "-m", "covey.main", "agent", "--hosts", "fake", *places], env={"NOTIFY_SOCKET": str(tmp_path / "n")}
        )
        try:
            assert b"READY=1" in ear.recv(1000)
        finally:
            agent.terminate()
            agent.wait(timeout=30)
    up = [str(python), "-P", "-m", "covey.cli", "up", "--state", str(tmp_path / "u"), "--hosts", "fake"]
    refused = subprocess.run(up, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "there is no controller on this machine" in refused.stderr
