"""Guests that leave this machine while they run, and those that come: the libvirt driver's part of it.

libvirt is told that the other libvirtd is behind a socket of this machine, and QEMU likewise where memory and disks go; whatever connects
there is carried through the passage to the other machine.

What must never be is that both run. libvirt's client sends the guest there ("finish"); were the way to break just then, the client would
not know, and libvirt would let the guest go on here. So when the control connection breaks, libvirt does not hear of it before this
machine knows the truth: if the guest still runs here, it was not sent, and all is as before; if it stands still, the other machine is
asked, however long that takes (S6: doubt freezes a guest).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

import libvirt
import structlog

from covey.base.errors import CoveyError, StepFailed, Unavailable
from covey.host.hypervisor import departing, orders
from covey.host.hypervisor.departing import Doors
from covey.host.migration.protocol import CONTROL, DISKS, MEMORY, Moved, Passage, Pipe, Told, Wish
from covey.host.migration.pump import SocketPipe, broken_by, carry

LOOK_EVERY_S = 0.25
SETTLES_WITHIN_S = 30.0  # libvirt ends what was coming by itself when its client goes
CONNECT_LIMIT_S = 20.0
log = structlog.get_logger()


class Calls(Protocol):
    """How the driver asks its libvirtd."""

    async def __call__(self, instance: str, order: Callable[[Any, str], Any]) -> Any: ...


class Moves:
    """`uri` is of this machine's libvirtd, `runtime` the directory that it sees as /run/libvirt."""

    def __init__(self, uri: str, runtime: Path, user: str, order: Calls) -> None:
        self._uri = uri
        self._runtime = runtime
        self._user = user
        self._order = order

    # Leaving

    async def migrate(self, instance: str, passage: Passage, wish: Wish, told: Told) -> Moved:
        """See Hypervisor.migrate."""
        doors = departing.doors_of(self._runtime, instance)
        await asyncio.to_thread(_make_directory, doors.directory, self._user)
        there = f"qemu+unix:///system?socket={quote(str(doors.control))}"
        async with self._open(doors, instance, passage):
            moving = asyncio.ensure_future(
                asyncio.to_thread(departing.migrate, self._uri, there, instance, doors, passage.description, wish)
            )
            try:
                await self._watch(instance, moving, wish, told)
                await asyncio.shield(moving)
            except libvirt.libvirtError as error:
                raise StepFailed(f"it was not moved: {_plain(error)}", f"instance {instance}") from error
            except asyncio.CancelledError:
                await self._give_up(instance, moving)
                raise
        return departing.moved(await self._order(instance, departing.outcome))

    async def _watch(self, instance: str, moving: asyncio.Future[None], wish: Wish, told: Told) -> None:
        limited = not wish.downtime_s
        while not moving.done():
            await asyncio.wait({moving}, timeout=LOOK_EVERY_S)
            with contextlib.suppress(CoveyError, libvirt.libvirtError):
                if not limited:
                    limited = await self._order(
                        instance, lambda connection, which: departing.limit_downtime(connection, which, wish.downtime_s)
                    )
                figures = await self._order(instance, departing.progress)
                if figures:
                    told(_sentence(figures), int(figures.get("data_processed", 0)), int(figures.get("data_total", 0)))

    async def _give_up(self, instance: str, moving: asyncio.Future[None]) -> None:
        """Cancelled: what libvirt is at is ended, or comes to its end; how it ended, whoever cancelled looks at."""
        while not moving.done():
            with contextlib.suppress(CoveyError, libvirt.libvirtError):
                await self._order(instance, departing.abort)
            await asyncio.wait({moving}, timeout=LOOK_EVERY_S)
        with contextlib.suppress(libvirt.libvirtError):
            moving.result()

    @contextlib.asynccontextmanager
    async def _open(self, doors: Doors, instance: str, passage: Passage) -> AsyncIterator[None]:
        """The sockets where libvirt and QEMU look for the other machine."""
        carrying: set[asyncio.Task[None]] = set()

        def through(kind: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
            def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.create_task(self._carry(instance, kind, SocketPipe(reader, writer), passage))
                carrying.add(task)
                task.add_done_callback(carrying.discard)

            return accepted

        async with AsyncExitStack() as stack:
            for kind, path in ((CONTROL, doors.control), (MEMORY, doors.memory), (DISKS, doors.disks)):
                path.unlink(missing_ok=True)
                server = await asyncio.start_unix_server(through(kind), str(path))
                stack.callback(path.unlink, missing_ok=True)
                stack.callback(server.close)
                await asyncio.to_thread(_give_to, path, "root" if kind == CONTROL else self._user)
            try:
                yield
            finally:
                for task in tuple(carrying):
                    task.cancel()
                await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(self, instance: str, kind: str, here: SocketPipe, passage: Passage) -> None:
        try:
            there = await passage.pipe(kind)
            try:
                await carry(here, there, one_ends_first=kind == CONTROL)
            finally:
                await there.close()
        except* Unavailable as group:
            log.warning("the way to the other machine broke", instance=instance, kind=kind, why=str(broken_by(group) or group))
            if kind == CONTROL:
                await self._learn_the_truth(instance, passage)
        finally:
            await here.close()  # from here on libvirt knows

    async def _learn_the_truth(self, instance: str, passage: Passage) -> None:
        """S4: before libvirt hears that the way is broken, and would let the guest go on here. See the head of this module."""
        if await self._order(instance, departing.is_frozen) and await passage.has_arrived():
            await self._order(instance, orders.cut)

    # Coming

    async def connect(self, instance: str, kind: str) -> Pipe:
        """This machine's end of what comes from another. Raises Unavailable."""
        doors = departing.doors_of(self._runtime, instance)
        path = {CONTROL: _socket_of(self._uri), MEMORY: str(doors.memory), DISKS: str(doors.disks)}[kind]
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return SocketPipe(*await asyncio.open_unix_connection(path))
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"nothing takes in what comes: {error}", f"instance {instance}") from error

    async def make_way(self, instance: str) -> None:
        """What comes can be taken in."""
        doors = departing.doors_of(self._runtime, instance)
        await asyncio.to_thread(_make_directory, doors.directory, self._user)
        for path in (doors.memory, doors.disks):
            path.unlink(missing_ok=True)

    async def settle(self, instance: str) -> None:
        """Nothing is on its way here any more: it runs, or it is not here. libvirt ends what was coming when its client has gone, and
        after what that had asked of it: so in the end nobody cuts what has just begun to run."""
        deadline = asyncio.get_running_loop().time() + SETTLES_WITHIN_S
        while await self._order(instance, departing.is_arriving):
            if asyncio.get_running_loop().time() > deadline:
                await self._order(instance, orders.cut)
            await asyncio.sleep(LOOK_EVERY_S / 2)


def _sentence(figures: dict[str, Any]) -> str:
    """What a person reads while it moves."""
    left = int(figures.get("data_remaining", 0)) / 2**20
    speed = int(figures.get("memory_bps", 0) or 0) / 2**20
    slowed = int(figures.get("auto_converge_throttle", 0) or 0)
    words = f"{left:.0f} MiB left" + (f", memory at {speed:.0f} MiB/s" if speed else "")
    return f"{words}; the guest is slowed by {slowed} %" if slowed else words


def _plain(error: Any) -> str:
    return str(error.get_error_message() or error)


def _socket_of(uri: str) -> str:
    return parse_qs(urlsplit(uri).query).get("socket", ["/run/libvirt/libvirt-sock"])[0]


def _make_directory(directory: Path, user: str) -> None:
    """Where QEMU makes sockets itself: its own user's, as with VNC."""
    directory.mkdir(mode=0o700, exist_ok=True)
    account = pwd.getpwnam(user)
    os.chown(directory, account.pw_uid, account.pw_gid)


def _give_to(path: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o600)
