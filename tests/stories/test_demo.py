"""From nothing to a real virtual server and back, as the README has it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.covey_up import COVEY, ROOT, SCRATCH, command_lines, mounts_below
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
FIRST_WITHIN_S = 1200.0
AGAIN_WITHIN_S = 60.0


class Demo:
    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"cvs{os.getpid()}-", dir=SCRATCH))
        self.directory.chmod(0o711)
        self.state = self.directory / "d"
        self.netns = f"cvs{os.getpid()}-demo"

    def run(self, program: str, *arguments: str, within: float) -> str:
        """A program of the demo, without a terminal; what it said."""
        environment = {**os.environ, "COVEY_DEMO_STATE": str(self.state), "COVEY_DEMO_NETNS": self.netns}
        done = subprocess.run(
            [ROOT / "demo" / program, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def covey(self, *words: str) -> str:
        environment = {**os.environ, "COVEY_STATE": str(self.state)}
        return subprocess.run([COVEY, *words], env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    def processes(self) -> list[list[bytes]]:
        return [words for _, words in command_lines() if str(self.state).encode() in b" ".join(words)]

    def within(self, *argv: str) -> str:
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    if os.environ.get("KEEP"):
        print(f"KEEP: left as it is: COVEY_DEMO_STATE={demo.state} COVEY_DEMO_NETNS={demo.netns} demo/clean")
        return
    demo.run("clean", within=120)
    demo.directory.rmdir()


def test_the_demo_says_what_it_changes_and_ends_with_a_page_from_a_real_virtual_server(demo: Demo) -> None:
    said = demo.run("run", "--yes", within=FIRST_WITHIN_S)
    assert str(demo.state) in said
    assert demo.netns in said
    assert "Hello from a virtual server that Covey made." in said
    for way in ("see it:", "enter it:", "remove it:"):
        assert way in said
    assert said.count("== ") >= 4, "it tells each thing that it does"


async def test_the_guest_runs_is_ready_and_can_be_entered(demo: Demo) -> None:
    told = demo.covey("instance", "info", "web1")
    assert "web1  running" in told
    assert "the guest is ready, 10.77.0.2" in told
    assert "Hello" in demo.within("curl", "--silent", "--max-time", "30", "http://10.77.0.2/")

    def shows_the_login() -> bool:
        return "web1 login:" in demo.covey("instance", "console", "web1", "--log")

    await eventually(shows_the_login, within=120)
    assert "all is well" in demo.covey("status")
    assert "0 errors, 0 warnings" in demo.covey("cluster", "verify")


def test_a_port_of_the_machine_leads_to_the_guest_from_outside_and_no_other_does(demo: Demo) -> None:
    outside = f"{demo.netns}-outside"
    for words in (
        f"netns add {outside}",
        f"-n {demo.netns} link add uplink type veth peer name eth0 netns {outside}",
        f"-n {demo.netns} addr add 192.0.2.10/24 dev uplink",
        f"-n {demo.netns} link set uplink up",
        f"-n {outside} addr add 192.0.2.20/24 dev eth0",
        f"-n {outside} link set eth0 up",
        f"-n {outside} route add 10.77.0.0/24 via 192.0.2.10",
    ):
        subprocess.run(["ip", *words.split()], check=True, timeout=20)
    fetch = ["nsenter", f"--net=/run/netns/{outside}", "curl", "--silent", "--max-time", "20"]

    def answer(url: str, *options: str) -> str:
        return subprocess.run([*fetch, *options, url], capture_output=True, text=True, timeout=60, check=False).stdout

    try:
        assert answer("http://192.0.2.10:8080/") == ""
        demo.covey("forward", "add", "tcp/8080", "web1:80")
        assert "Hello" in answer("http://192.0.2.10:8080/")
        assert "Hello" in demo.within("curl", "--silent", "--max-time", "30", "http://192.0.2.10:8080/")
        assert answer("http://192.0.2.10:80/") == "", "a port that is not forwarded"
        assert answer("http://10.77.0.2/", "--connect-timeout", "2") == "", "the guest itself is hidden"
        demo.within("nft", "flush", "ruleset")
        demo.covey("cluster", "verify", "--fix", "--yes")
        assert "Hello" in answer("http://192.0.2.10:8080/")
        demo.covey("forward", "remove", "tcp/8080", "--yes")
        assert answer("http://192.0.2.10:8080/") == ""
    finally:
        subprocess.run(["ip", "netns", "delete", outside], check=True, timeout=20)


def test_a_second_run_is_quick_and_makes_nothing_anew(demo: Demo) -> None:
    before = demo.covey("instance", "info", "web1", "--json"), demo.covey("image", "list", "--json")
    said = demo.run("run", "--yes", within=AGAIN_WITHIN_S)
    assert "Hello from a virtual server that Covey made." in said
    after = demo.covey("instance", "info", "web1", "--json"), demo.covey("image", "list", "--json")
    identity = ('"id"', '"pid"', '"generation"', '"created_at"')
    assert [line for text in before for line in text.splitlines() if line.strip().startswith(identity)] == [
        line for text in after for line in text.splitlines() if line.strip().startswith(identity)
    ]


async def test_cleaning_leaves_nothing(demo: Demo) -> None:
    demo.run("clean", within=120)
    assert not demo.state.exists()
    assert not Path("/run/netns", demo.netns).exists()
    assert mounts_below(demo.directory) == []
    await eventually(lambda: not demo.processes())
    assert "There is no demo to remove" in demo.run("clean", within=60)
