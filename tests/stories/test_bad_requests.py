"""What cannot be is refused in clear words, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.covey_up import BAD_INPUT, DONE, FAILED, CoveyUp, a_covey

pytestmark = pytest.mark.asyncio(loop_scope="module")
HUGE = 10**18
MIB = 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey("fake") as covey:
        await covey.do("instance add web1 --image tick --memory 16M")
        yield covey


async def test_a_name_that_is_taken_is_refused_for_every_noun(covey: CoveyUp) -> None:
    before = await covey.records()
    await covey.do("token add ci")
    source = covey.directory / "tick.raw"
    for line, taken in (
        ("instance add web1 --image tick", "instance web1"),
        (f"image add tick --source {source}", "image tick"),
        ("network add default --subnet 10.9.0.0/24", "network default"),
        (f"pool add default --path {covey.directory}/other", "pool default"),
        ("token add ci", "token ci"),
    ):
        said = await covey.fail(line, says=[taken, "taken"])
        assert "see: covey " in said, said
    assert await covey.records() == before


async def test_of_several_adds_of_one_name_at_once_exactly_one_wins(covey: CoveyUp) -> None:
    answers = await asyncio.gather(*(covey.ask("instance add twin --image tick --memory 16M") for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [DONE] + [FAILED] * 5
    for answer in answers:
        assert answer.status == DONE or "instance twin: the name is taken" in answer.err, answer
    assert len(await covey.json("instance list --filter name=twin")) == 1
    await covey.do("instance remove twin --yes")
    assert await covey.findings() == []


@pytest.mark.parametrize(
    "line",
    [
        "instance add odd --disk 0",
        f"instance add odd --disk {HUGE}",
        "instance add odd --disk -1",
        "instance add odd --memory 0",
        f"instance add odd --memory {HUGE}",
        "instance add odd --cpus 0",
        f"instance add odd --cpus {HUGE}",
        "disk add web1 0",
        f"disk add web1 {HUGE}",
        "disk grow web1 0 0",
        "disk grow web1 0 +0",
        f"disk grow web1 0 {HUGE}",
        f"disk grow web1 0 +{HUGE}",
        f"disk grow web1 {HUGE} 4M",
        "image build odd --size 0",
        f"image build odd --size {HUGE}",
        "cluster modify --memory 0",
        f"cluster modify --memory {HUGE}",
        "cluster modify --crash-restarts -1",
        f"instance stop web1 --timeout {HUGE}s",
        f"job info {HUGE}",
        f"job list --limit {HUGE}",
    ],
)
async def test_a_number_that_cannot_be_is_refused(covey: CoveyUp, line: str) -> None:
    before = await covey.records(), covey.files()
    answer = await covey.ask(line)
    said = answer.out + answer.err
    if line == "disk grow web1 0 +0":  # it has that size already
        assert answer.status == DONE
        assert "already" in said
    else:
        assert answer.status in (FAILED, BAD_INPUT), answer
        assert len(said.splitlines()) <= 4, f"a sentence and what to do: {said}"
        assert "Traceback" not in said
    assert (await covey.records(), covey.files()) == before


async def test_what_is_in_use_is_not_removed_and_its_users_are_named(covey: CoveyUp) -> None:
    before = await covey.records()
    for line, kept in (
        ("image remove tick", "image tick"),
        ("pool remove default", "pool default"),
        ("network remove default", "network default"),
    ):
        await covey.fail(f"{line} --yes", says=[kept, "web1"])
    await covey.fail("cluster init other", says=["lab", "covey cluster info"])
    await covey.fail("disk remove web1 7 --yes", says=["web1", "7"])
    for noun in ("instance", "image", "pool", "network", "token"):
        await covey.fail(f"{noun} remove nowhere --yes", says=[f"{noun} nowhere"])
    assert await covey.records() == before


async def test_before_cluster_init_every_command_says_so() -> None:
    async with a_covey("fake", initialised=False) as covey:
        for line in (
            "instance add web1 --memory 16M",
            "instance list",
            "image add tick --source /tick.raw",
            "network add default --subnet 10.77.0.0/24",
            "pool list",
            "cluster info",
            "cluster modify --notes x",
            "cluster verify",
            "instance start web1",
            "disk add web1 1M",
        ):
            answer = await covey.ask(line)
            if line.endswith("list"):
                assert answer.status == DONE, answer
            else:
                assert answer.status in (FAILED, BAD_INPUT), answer
                assert "covey cluster init" in answer.err or "there is no" in answer.err, answer


async def test_a_request_of_100_megabytes_is_refused_and_costs_no_memory(covey: CoveyUp) -> None:
    controller = covey.daemons["controller"]
    before = memory_of(controller)
    statuses = [await asyncio.to_thread(send_much, covey.state / "covey.sock", announced) for announced in (True, False)]
    assert statuses == [413, 413]
    assert memory_of(controller) - before < 20 * MIB
    assert covey.daemons["controller"] == controller
    await covey.do("instance list")


def send_much(path: Path, announced: bool) -> int:
    """POST 100 MB, with its length told at once or in chunks; the status of the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(30)
        door.connect(str(path))
        length = f"content-length: {100 * 10**6}" if announced else "transfer-encoding: chunked"
        door.sendall(f"POST /v1/instances HTTP/1.1\r\nhost: covey\r\ncontent-type: application/json\r\n{length}\r\n\r\n".encode())
        piece = b" " * 10**6
        try:
            for _ in range(100):
                door.sendall(piece if announced else b"%x\r\n" % len(piece) + piece + b"\r\n")
            door.sendall(b"" if announced else b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has said no, and reads no further
        return int(door.makefile("rb").readline().split()[1])


def memory_of(pid: int) -> int:
    """Bytes resident of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("door", ["covey.sock", "agent.sock"])
async def test_garbage_at_a_socket_harms_nobody(covey: CoveyUp, door: str) -> None:
    daemons = covey.daemons
    await asyncio.to_thread(throw_garbage, covey.state / door)
    await covey.do("node ping n1")
    await covey.do("instance reset web1 --yes")
    assert covey.daemons == daemons
    assert await covey.findings() == []


def throw_garbage(path: Path) -> None:
    rng = random.Random(7)
    beginnings = [
        b"",
        b"GET ",
        b"GET / HTTP/1.1\r\n",
        b"PUT /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\n\r\n",
        b"\x16\x03\x01",
    ]
    beginnings += [
        b"PUT /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n[]",
        b'PUT /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n[{"a":1}]',
    ]
    open_ends = []
    for number in range(40):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.settimeout(10)
        door.connect(str(path))
        open_ends.append(door)
        try:
            door.sendall(rng.choice(beginnings) + rng.randbytes(rng.randrange(5000)))
            if number % 2:
                door.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            continue  # it has had enough of us, as it may
    for door in open_ends:
        door.close()


async def test_only_root_may_use_the_sockets(covey: CoveyUp) -> None:
    for door in ("covey.sock", "agent.sock"):
        found = (covey.state / door).stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o600, 0)
    for secret in ("store", "agent", "events", "tls"):
        assert (covey.state / secret).stat().st_mode & 0o077 == 0
