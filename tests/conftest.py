"""What every file of tests must leave behind: nothing (rule T1). KEEP=1 leaves a wreck to look at, and says nothing of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kit.eventually import eventually

settings.register_profile("covey", deadline=None)  # a busy machine is no finding
settings.load_profile("covey")
MARK = "COVEY_TEST_PROCESS"
WITHIN_S = 10.0  # what is ending when the last test is over gets this long
KINDS_OF_LINK = ("tun_flags", "bridge")  # in /sys/class/net/NAME: a tap, a bridge

# Whatever this process starts carries the mark in its environment, and so does what that starts.
os.environ[MARK] = str(os.getpid())


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After a file of tests, no process, network namespace, tap, bridge, mount or loop device of its making is left."""
    places = (str(tmp_path_factory.getbasetemp()), f"{os.environ.get('COVEY_TEST_SCRATCH', '/var/tmp')}/cvs{os.getpid()}-")
    before = left(places)
    yield
    if os.environ.get("KEEP"):
        return
    after: set[str] = set()

    def is_clean() -> bool:
        after.clear()
        after.update(left(places) - before)
        return not after

    try:
        asyncio.run(eventually(is_clean, within=WITHIN_S))
    except AssertionError:
        pytest.fail("left behind by this file of tests:\n  " + "\n  ".join(sorted(after)))


def left(places: tuple[str, ...]) -> set[str]:
    """What there is of this process's making, in words. Others may test beside us on the same machine, so namespaces count by the pid
    in their names, mounts and loop devices by the directories they are of."""
    return {*_processes(), *_namespaces(), *_links(), *_mounts(places), *_loops(places)}


def _processes() -> Iterator[str]:
    """Processes that carry the mark, and those below them: libvirtd clears the environment of the guests it starts."""
    parents: dict[int, int] = {}
    ours: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if f"{MARK}={os.getpid()}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    ours.add(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
    ours.discard(os.getpid())
    for pid in parents:
        line = [pid]
        while (parent := parents.get(line[-1])) and parent not in ours:
            line.append(parent)
        if pid in ours or parent in ours:
            yield from _described(pid)


def _described(pid: int) -> Iterator[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return
    if words and "multiprocessing" not in words:  # helpers of Python's own, which end with it
        yield f"process {pid}: {words[:200]}"


def _namespaces() -> Iterator[str]:
    directory = Path("/run/netns")
    for path in directory.iterdir() if directory.exists() else ():
        if str(os.getpid()) in path.name:
            yield f"network namespace {path.name}"


def _links() -> Iterator[str]:
    """Taps and bridges in this network namespace: nothing of a test belongs there."""
    for path in Path("/sys/class/net").iterdir():
        if any((path / kind).exists() for kind in KINDS_OF_LINK):
            yield f"link {path.name}"


def _mounts(places: tuple[str, ...]) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(places):
            yield f"mount {point}"


def _loops(places: tuple[str, ...]) -> Iterator[str]:
    listed = subprocess.run(
        ["losetup", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        name, _, file = line.partition(" ")
        if file.startswith(places):
            yield f"loop device {name} of {file}"
