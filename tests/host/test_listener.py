"""The ready listener hears what guests report, and survives whatever a hostile one sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.eventually import eventually

from covey.host.guest.listener import LONGEST_LINE, GuestReport, Lines, ReadyListener, parse_report
from covey.host.hypervisor.fake import FakeHypervisor, FakeReadyListener
from covey.host.shelf import MemoryShelf
from covey.model.domain import Domain

INSTANCE = "0a1b2c3d-1111-4222-8333-444455556666"
GOOD = {"ready": True, "boot": "b-1", "addresses": ["10.0.0.5", "fe80::1"], "status": "done", "seconds": 12.5}
REPORT = GuestReport("b-1", ("10.0.0.5", "fe80::1"), "done", 12.5)


def line(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode() + b"\n"


class Qemu:
    """The host's end of a guest's port, as QEMU serves it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(lambda _reader, writer: self.writers.append(writer), self._path)

    async def say(self, data: bytes) -> None:
        await eventually(lambda: bool(self.writers))
        self.writers[-1].write(data)

    async def stop(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)


@pytest.fixture
async def qemu(tmp_path: Path) -> AsyncIterator[Qemu]:
    qemu = Qemu(tmp_path / "ready.sock")
    yield qemu
    await qemu.stop()


@pytest.fixture
async def heard(tmp_path: Path) -> AsyncIterator[tuple[ReadyListener, list[GuestReport]]]:
    reports: list[GuestReport] = []
    listener = ReadyListener(lambda _instance: tmp_path / "ready.sock", lambda _instance, report: reports.append(report))
    yield listener, reports
    await listener.close()


async def test_a_guests_report_is_heard(qemu: Qemu, heard: tuple[ReadyListener, list[GuestReport]]) -> None:
    listener, reports = heard
    await qemu.start()
    listener.follow([INSTANCE])
    await qemu.say(line())
    await eventually(lambda: reports == [REPORT])


async def test_garbage_before_a_report_does_not_hide_it(qemu: Qemu, heard: tuple[ReadyListener, list[GuestReport]]) -> None:
    listener, reports = heard
    await qemu.start()
    listener.follow([INSTANCE])
    await qemu.say(b"\xff\xfe\x00 no JSON\n[]\n{}\n" + b"x" * (LONGEST_LINE + 5000) + b"\n" + b"[" * 5000 + b"\n" + line())
    await eventually(lambda: reports == [REPORT])


async def test_a_guest_that_is_started_later_and_again_is_heard_each_time(
    qemu: Qemu, heard: tuple[ReadyListener, list[GuestReport]]
) -> None:
    listener, reports = heard
    listener.follow([INSTANCE])
    for boot in ("b-1", "b-2"):
        await qemu.start()
        await qemu.say(line(boot=boot))
        await eventually(lambda boot=boot: [report.boot for report in reports][-1:] == [boot])
        await qemu.stop()


async def test_a_guest_that_is_no_longer_followed_is_no_longer_connected(
    qemu: Qemu, heard: tuple[ReadyListener, list[GuestReport]]
) -> None:
    listener, _ = heard
    await qemu.start()
    listener.follow([INSTANCE])
    await eventually(lambda: len(qemu.writers) == 1)
    listener.follow([INSTANCE])
    listener.follow([])
    await eventually(lambda: gone(qemu))


async def gone(qemu: Qemu) -> bool:
    qemu.writers[0].write(b" ")
    try:
        await qemu.writers[0].drain()
    except ConnectionError:
        return True
    return False


def test_a_report_is_read_as_it_was_meant() -> None:
    assert parse_report(line()) == REPORT
    assert parse_report(line(addresses=["10.0.0.5", "nonsense", 7, "1" * 100])) == GuestReport("b-1", ("10.0.0.5",), "done", 12.5)


@pytest.mark.parametrize(
    "bad",
    [
        {"ready": False},
        {"ready": 1},
        {"boot": None},
        {"boot": "x" * 65},
        {"boot": "\x1b[2J"},
        {"status": "fine"},
        {"status": []},
        {"seconds": "12"},
        {"seconds": -1},
        {"seconds": True},
        {"seconds": float("inf")},
        {"seconds": 10**400},
        {"addresses": "10.0.0.5"},
    ],
)
def test_what_is_not_well_formed_is_no_report(bad: dict[str, object]) -> None:
    assert parse_report(line(**bad)) is None


def test_a_guest_cannot_claim_addresses_without_end() -> None:
    report = parse_report(line(addresses=["10.0.0.5"] * 1000))
    assert report
    assert len(report.addresses) == 64


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    parse_report(data)


@given(st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")), max_size=10), st.integers(1, 7))
def test_lines_are_the_same_however_they_are_cut(texts: list[bytes], size: int) -> None:
    stream = b"".join(text + b"\n" for text in texts)
    lines = Lines(longest=30)
    cut = [found for start in range(0, len(stream), size) for found in lines.feed(stream[start : start + size])]
    assert cut == [text for text in texts if len(text) <= 30]


async def test_a_pretended_guest_reports_once_a_run() -> None:
    hypervisor = FakeHypervisor(MemoryShelf())
    reports: list[tuple[str, GuestReport]] = []
    listener = FakeReadyListener(hypervisor, lambda instance, report: reports.append((instance, report)))
    await hypervisor.ensure_defined(Domain(INSTANCE, "web1", 1, 2**24, "tcg", "pc-q35-7.2"), {}, "job-1")
    follow: Callable[[], None] = lambda: listener.follow([INSTANCE])  # noqa: E731
    follow()
    assert reports == []
    await hypervisor.ensure_running(INSTANCE, 1)
    follow()
    follow()
    assert len(reports) == 1
    await hypervisor.ensure_generation(INSTANCE, 2)
    follow()
    assert [instance for instance, _ in reports] == [INSTANCE, INSTANCE]
    assert reports[0][1].boot != reports[1][1].boot
