"""What `covey lab up` plans, what is kept of a lab, and how its processes are known."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.base.errors import BadInput, NotFound
from covey.lab.lab import mounts_below, plan_up
from covey.lab.layout import NETWORK, REPLICATION, Cut, Lab
from covey.lab.processes import Process, command_lines, end, name_of, place_of, send, starters
from covey.lab.record import alone, find_lab, load_lab, save_lab
from tests.kit.eventually import eventually

LAB = Lab("trial", Path("/srv"), 3)


# --- the plan ----------------------------------------------------------------------------------------------------------------------
def test_a_new_lab_gets_a_switch_all_nodes_and_one_cluster() -> None:
    steps = plan_up(LAB, set(), has_switch=False, has_cluster=False, members=set(), is_shared=False)
    assert [(step.kind, step.node) for step in steps] == [
        ("switch", ""), ("power", "n1"), ("power", "n2"), ("power", "n3"), ("init", "n1"), ("join", "n2"), ("join", "n3"),
        ("share", ""),
    ]  # fmt: skip


def test_only_what_is_lacking_is_made() -> None:
    assert plan_up(LAB, {"n1", "n2", "n3"}, has_switch=True, has_cluster=True, members={"n2", "n3"}, is_shared=True) == ()
    steps = plan_up(LAB, {"n1", "n3"}, has_switch=True, has_cluster=True, members={"n3"}, is_shared=True)
    assert [(step.kind, step.node) for step in steps] == [("power", "n2"), ("join", "n2")]


def test_a_lab_of_one_node_joins_nothing() -> None:
    steps = plan_up(Lab("trial", Path("/srv"), 1), set(), has_switch=True, has_cluster=False, members=set(), is_shared=True)
    assert [step.kind for step in steps] == ["power", "init"]


# --- the record --------------------------------------------------------------------------------------------------------------------
def test_what_was_asked_for_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    cuts = frozenset({Cut.between(NETWORK, "n1", "n2"), Cut.between(REPLICATION, "n3", "")})
    lab = Lab("trial", tmp_path, 3, "tcg", cuts)
    lab.directory.mkdir()
    save_lab(lab)
    assert load_lab("trial", tmp_path) == lab


def test_where_there_is_no_lab_those_that_are_there_are_named(tmp_path: Path) -> None:
    assert find_lab("trial", tmp_path) is None
    with pytest.raises(NotFound) as caught:
        load_lab("trial", tmp_path)
    assert "covey lab up" in caught.value.hint
    (tmp_path / "other").mkdir()
    save_lab(Lab("other", tmp_path, 1))
    with pytest.raises(NotFound) as caught:
        load_lab("trial", tmp_path)
    assert "other" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": 1, "accelerator": "tcg", "cuts": [[1, 2, 3, 4]]}'])
def test_a_record_that_is_damaged_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial/lab.json").write_text(text)
    with pytest.raises(BadInput) as caught:
        find_lab("trial", tmp_path)
    assert "lab.json" in caught.value.what and "lab down" in caught.value.hint


def test_whoever_waited_for_a_lab_that_was_removed_gets_one_that_is_there(tmp_path: Path) -> None:
    directory = tmp_path / "trial"
    waiting = f"from pathlib import Path\nfrom covey.lab.record import alone\nwith alone(Path({str(directory)!r})): print('have', Path({str(directory)!r}).exists())"
    with alone(directory):
        other = subprocess.Popen([sys.executable, "-c", waiting], stdout=subprocess.PIPE, text=True)
        directory.rmdir()
    assert other.communicate(timeout=60)[0] == "have True\n"


# --- processes ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python -P -m covey.lab.init /srv/trial/n1 n1 python -P -m covey.cli up", "init"),
        ("python -P -m covey.cli up --config /srv/trial/n1/covey.toml", "up"),
        ("python -P -m covey.main agent --parent 7", "agent"),
        ("python -P -m covey.main controller --parent 7", "controller"),
        ("python -P -m covey.host.hypervisor.private_init /srv/x", "keeper"),
        ("/usr/sbin/libvirtd --pid-file x", "libvirtd"),
        ("/usr/bin/qemu-system-x86_64 -name guest=x", "guest"),
        ("/usr/bin/etcd --name n1", "etcd"),
    ],
)
def test_a_process_is_called_what_people_call_it(line: str, name: str) -> None:
    assert name_of(line.split()) == name


def test_an_init_is_known_by_its_directory_also_before_it_is_one() -> None:
    own = ["-P", "-m", "covey.lab.init", "/srv/trial/n1", "n1"]
    assert place_of(["python", *own]) == Path("/srv/trial/n1")
    assert place_of(["unshare", "--pid", "python", *own]) == Path("/srv/trial/n1")
    assert place_of(["grep", "covey.lab.init", "/srv/trial/n1"]) is None
    assert place_of(["python", "-m", "covey.lab.init"]) is None


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks as if it were about to start node n1 of a lab `trial` below tmp_path."""
    argv = ["sh", "-c", "while :; do wait; read line; done", "-m", "covey.lab.init", str(tmp_path / "trial/n1")]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


async def test_what_holds_a_lab_is_found_and_ended_and_nothing_else(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    await eventually(lambda: sleeper.pid in starters(tmp_path / "trial"))  # its words are there a moment after it is
    assert starters(tmp_path / "trial/n1") == [sleeper.pid]
    assert not starters(tmp_path / "tria")
    assert not starters(tmp_path / "trial/n")
    await end(starters(tmp_path / "trial"))
    assert await asyncio.to_thread(sleeper.wait, 20) == -9
    await end([sleeper.pid])  # gone already


def test_a_signal_reaches_no_process_of_another_namespace(sleeper: subprocess.Popen[bytes]) -> None:
    import signal

    here = str(Path(f"/proc/{sleeper.pid}/ns/pid").readlink())
    assert not send(Process(sleeper.pid, "pid:[1]", "sh"), signal.SIGKILL)
    assert sleeper.poll() is None
    process = Process(sleeper.pid, here, "sh")
    assert send(process, signal.SIGSTOP)
    assert sleeper.pid in dict(command_lines())


def test_mounts_below_a_directory_are_seen_and_its_neighbours_are_not() -> None:
    assert mounts_below(Path("/proc"))[0] == "/proc"
    assert not mounts_below(Path("/pro"))
