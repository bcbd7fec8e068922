"""What a libvirtd that takes a connection and then says nothing costs those who ask for one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.kit.eventually import eventually

from covey.base.errors import Unavailable
from covey.host.hypervisor import connection as module
from covey.host.hypervisor.connection import Connection

LIMIT_S = 1.0
pytestmark = pytest.mark.asyncio


class Silent:
    """A socket where libvirtd should answer: it takes connections, and leaves them unanswered."""

    def __init__(self, path: Path) -> None:
        self.taken: list[asyncio.StreamWriter] = []
        self._path = path
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._take, self._path)

    async def _take(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken.append(writer)

    async def die(self) -> None:
        assert self._server
        self._server.close()
        for writer in self.taken:
            writer.close()


@pytest_asyncio.fixture
async def silent(tmp_path: Path) -> AsyncIterator[Silent]:
    silent = Silent(tmp_path / "sock")
    await silent.open()
    yield silent
    await silent.die()


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(module, "CALL_LIMIT_S", LIMIT_S)
    return Connection(f"qemu+unix:///session?socket={tmp_path / 'sock'}", lambda _: None, lambda: None)


async def is_refused(connection: Connection) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await connection.call(lambda libvirt: libvirt.getLibVersion())


async def test_all_who_ask_wait_for_the_one_attempt_and_nobody_knocks_again_beside_it(
    silent: Silent, connection: Connection
) -> None:
    async with asyncio.timeout(4 * LIMIT_S):  # one after the other they would wait for five times the limit
        await asyncio.gather(*(is_refused(connection) for _ in range(5)))
    await is_refused(connection)
    assert len(silent.taken) == 1
    await silent.die()
    await connection.close()


async def test_when_the_hung_libvirtd_died_the_next_call_tries_anew(
    silent: Silent, connection: Connection, tmp_path: Path
) -> None:
    await is_refused(connection)
    await silent.die()

    async def is_heard() -> bool:
        return connection._opening is None

    await eventually(is_heard)
    (tmp_path / "sock").unlink(missing_ok=True)
    (again := socket.socket(socket.AF_UNIX)).bind(str(tmp_path / "sock"))
    again.listen()
    again.setblocking(False)
    asking = asyncio.create_task(is_refused(connection))
    knock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(again), 5.0)
    knock.close()
    await asking
    again.close()
    await connection.close()
