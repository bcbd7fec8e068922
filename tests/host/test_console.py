"""One console, many people: all see what the guest prints, none can hold the others or the guest up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.kit.eventually import eventually
from tests.kit.hypervisors import LibvirtBench

from covey.base.errors import Unavailable
from covey.host.guest.console import LOG_KEPT, LOG_LIMIT, LONGEST_QUEUE, Consoles, Session, trim_log
from covey.host.guest.output import console_tail

INSTANCE = "0a1b2c3d-1111-4222-8333-444455556666"


class Qemu:
    """A guest's serial port as QEMU serves it: one connection, and a log of what was printed."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "console.sock"
        self.log = directory / "console.log"
        self.typed = b""
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        while data := await reader.read(4096):
            self.typed += data
        writer.close()

    async def print(self, text: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(text)
        if self._writer:
            self._writer.write(text)
            await self._writer.drain()

    async def stop(self) -> None:
        if self._writer:
            self._writer.close()
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def qemu(tmp_path: Path) -> AsyncIterator[Qemu]:
    qemu = Qemu(tmp_path)
    await qemu.start()
    yield qemu
    await qemu.stop()


@pytest.fixture
async def consoles(qemu: Qemu) -> AsyncIterator[Consoles]:
    consoles = Consoles(lambda _instance: qemu.socket, lambda _instance: qemu.log)
    yield consoles
    await consoles.close()


async def attached(consoles: Consoles, qemu: Qemu, history: int = 1024) -> Session:
    session = await consoles.attach(INSTANCE, history)
    await eventually(lambda: qemu.connections > 0)
    return session


async def read(session: Session, size: int) -> bytes:
    text = b""
    async with asyncio.timeout(10):
        while len(text) < size and (piece := await session.read()):
            text += piece
    return text


async def test_who_attaches_sees_what_was_printed_before_and_what_comes(consoles: Consoles, qemu: Qemu) -> None:
    await qemu.print(b"old news\n")
    session = await attached(consoles, qemu)
    await qemu.print(b"login: ")
    assert await read(session, 16) == b"old news\nlogin: "


async def test_no_more_history_comes_than_was_asked_for(consoles: Consoles, qemu: Qemu) -> None:
    await qemu.print(b"0123456789")
    assert await (await attached(consoles, qemu, history=4)).read() == b"6789"


class BusyQemu:
    """A QEMU that takes a connection when it comes to it; what the guest prints meanwhile is in its log alone."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "console.log"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(directory / "console.sock"))
        self._listener.listen()
        self._taken: socket.socket | None = None
        self.consoles = Consoles(lambda _instance: directory / "console.sock", lambda _instance: self.log)

    def take(self) -> None:
        self._taken, _ = self._listener.accept()

    def print(self, text: bytes) -> None:
        self.send(text)
        self.write_down(text)

    def send(self, text: bytes) -> None:
        if self._taken:
            self._taken.sendall(text)

    def write_down(self, text: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(text)

    def end(self) -> None:
        if self._taken:
            self._taken.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        await self.consoles.close()
        for one in (self._taken, self._listener):
            if one:
                one.close()


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[BusyQemu]:
    busy = BusyQemu(tmp_path)
    yield busy
    await busy.close()


async def test_what_is_printed_before_qemu_takes_the_connection_is_seen_without_waiting_for_more(busy: BusyQemu) -> None:
    busy.print(b"before|")
    session = await busy.consoles.attach(INSTANCE)
    busy.print(b"between|")
    assert await read(session, 15) == b"before|between|"
    busy.take()
    busy.print(b"after|")
    assert await read(session, 6) == b"after|"


@pytest.mark.parametrize("between", [b"", b"between|", b"after|", b"r|", b"||||"])
async def test_what_only_the_log_has_comes_before_the_first_of_the_wire_and_nothing_twice(busy: BusyQemu, between: bytes) -> None:
    busy.print(b"before|")
    session = await busy.consoles.attach(INSTANCE)
    busy.print(between)
    busy.take()
    busy.print(b"after|")
    busy.print(b"more|")
    expected = b"before|" + between + b"after|more|"
    assert await read(session, len(expected)) == expected
    busy.print(b"the end|")
    assert await read(session, 8) == b"the end|"


async def test_the_log_may_lag_behind_the_wire(busy: BusyQemu) -> None:
    session = await busy.consoles.attach(INSTANCE)
    busy.print(b"between|")
    busy.take()
    busy.send(b"after|")
    asyncio.get_running_loop().call_later(0.1, busy.write_down, b"after|")
    assert await read(session, 14) == b"between|after|"


async def test_who_joins_before_qemu_takes_the_connection_sees_everything_once(busy: BusyQemu) -> None:
    busy.print(b"before|")
    first = await busy.consoles.attach(INSTANCE)
    busy.print(b"between|")
    second = await busy.consoles.attach(INSTANCE)
    busy.take()
    busy.print(b"after|")
    assert [await read(session, 21) for session in (first, second)] == [b"before|between|after|"] * 2


async def test_a_console_whose_log_cannot_grow_is_seen_all_the_same(busy: BusyQemu) -> None:
    session = await busy.consoles.attach(INSTANCE)
    busy.take()
    busy.send(b"the disk is full")
    assert await read(session, 16) == b"the disk is full"


async def test_what_a_guest_printed_last_is_seen_though_it_ended_at_once(busy: BusyQemu) -> None:
    session = await busy.consoles.attach(INSTANCE)
    busy.print(b"panic")
    busy.take()
    busy.end()
    assert await read(session, 6) == b"panic"


async def test_all_see_the_same_over_one_connection(consoles: Consoles, qemu: Qemu) -> None:
    sessions = [await attached(consoles, qemu) for _ in range(3)]
    await qemu.print(b"to everybody\n")
    assert [await read(session, 13) for session in sessions] == [b"to everybody\n"] * 3
    assert qemu.connections == 1


async def test_what_is_typed_reaches_the_guest(consoles: Consoles, qemu: Qemu) -> None:
    first, second = await attached(consoles, qemu), await attached(consoles, qemu)
    await first.write(b"ro")
    await second.write(b"ot\n")
    await eventually(lambda: qemu.typed == b"root\n")


async def test_who_leaves_hears_no_more_and_the_others_go_on(consoles: Consoles, qemu: Qemu) -> None:
    leaves, stays = await attached(consoles, qemu), await attached(consoles, qemu)
    await leaves.close()
    assert await leaves.read() == b""
    await qemu.print(b"still here")
    assert await read(stays, 10) == b"still here"


async def test_the_connection_ends_with_the_last_session_and_comes_back_with_the_next(consoles: Consoles, qemu: Qemu) -> None:
    await (await attached(consoles, qemu)).close()
    session = await attached(consoles, qemu, history=0)
    await eventually(lambda: qemu.connections == 2)
    await qemu.print(b"again")
    assert await read(session, 5) == b"again"


async def test_a_slow_reader_loses_the_oldest_output_and_is_told_so(consoles: Consoles, qemu: Qemu) -> None:
    slow, quick = await attached(consoles, qemu, history=0), await attached(consoles, qemu, history=0)
    block = bytes(range(256)) * 64
    for _ in range(2 * LONGEST_QUEUE // len(block)):
        await qemu.print(block)
        assert len(await read(quick, len(block))) == len(block)
    assert b"bytes of output were not shown" in await slow.read()
    rest = await read(slow, LONGEST_QUEUE // 2)
    assert rest
    assert b"not shown" not in rest


async def test_the_end_of_a_run_ends_its_sessions(consoles: Consoles, qemu: Qemu) -> None:
    session = await attached(consoles, qemu, history=0)
    await qemu.stop()
    async with asyncio.timeout(10):
        assert await session.read() == b""
    with pytest.raises(Unavailable):
        await session.write(b"hello?")


async def test_a_guest_that_does_not_run_has_no_console(tmp_path: Path) -> None:
    consoles = Consoles(lambda _instance: tmp_path / "none", lambda _instance: tmp_path / "log")
    with pytest.raises(Unavailable, match="does not run"):
        await consoles.attach(INSTANCE)


def test_the_tail_of_a_log_is_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert console_tail(log, 10) == b""
    log.write_bytes(b"0123456789")
    assert console_tail(log, 4) == b"6789"
    assert console_tail(log, 100) == b"0123456789"


def test_a_log_that_has_grown_too_long_keeps_its_last_part(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a" * LOG_LIMIT)
    trim_log(log)
    assert log.stat().st_size == LOG_LIMIT
    with log.open("ab") as qemu:
        qemu.write(b"b" * 10)
        qemu.flush()
        trim_log(log)
        qemu.write(b"c")
        qemu.flush()
    assert log.stat().st_size == LOG_KEPT + 1
    assert log.read_bytes().endswith(b"ab" + b"b" * 9 + b"c")


@pytest.mark.real
async def test_a_real_guest_is_seen_and_its_log_can_be_trimmed_under_it() -> None:
    bench = LibvirtBench()
    await bench.open()
    try:
        domain, attachments = bench.guest()
        await bench.hypervisor.ensure_defined(domain, attachments, "job-1")
        await bench.hypervisor.ensure_running(domain.instance, 1)
        log = bench.hypervisor.console_log(domain.instance)
        consoles = Consoles(bench.hypervisor.console, bench.hypervisor.console_log)
        session = await consoles.attach(domain.instance)
        seen = b""
        async with asyncio.timeout(20):
            while seen.count(b"\nT0") < 3:
                seen += await session.read()
        assert b"BOOT-OK" in seen
        await eventually(lambda: log.read_bytes().startswith(seen))  # each byte of it, and each once
        with log.open("r+b") as file:
            file.truncate(0)
        await eventually(lambda: b"\nT0" in log.read_bytes())
        assert b"\0" not in log.read_bytes()  # no hole: it goes on at the new end
        await consoles.close()
    finally:
        await bench.close()
