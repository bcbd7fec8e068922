"""The serial consoles of guests: one reader a socket, any number of people attached to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path

from covey.base.errors import Unavailable
from covey.host.guest.output import Output, console_tail
from covey.host.guest.wire import Wire

LOG_LIMIT = 2**20  # a guest that prints without end must not fill the machine's disk
LOG_KEPT = 256 * 1024
HISTORY = 16 * 1024  # bytes of what was printed before, shown to whoever attaches
LONGEST_QUEUE = 256 * 1024  # bytes that wait for a session that reads slowly
WRITE_LIMIT_S = 5.0


def trim_log(path: Path) -> None:
    """Cut a console log down to its last part once it has grown past its limit. QEMU appends, and so goes on at the new end;
    what it prints during the cut itself may be lost."""
    try:
        if path.stat().st_size <= LOG_LIMIT:
            return
    except FileNotFoundError:
        return
    kept = console_tail(path, LOG_KEPT)
    with path.open("ab") as log:
        log.truncate(0)
        log.write(kept)


class Session:
    """One attached person: what the guest prints comes out of `read`, what is typed goes in by `write`."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._ended = False
        self._news = asyncio.Event()

    async def read(self) -> bytes:
        """The next piece of output, b"" when the session or the guest's run has ended. What a slow reader missed is told in a note."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        if self._dropped:
            note = f"\r\n[{self._dropped} bytes of output were not shown: this terminal reads too slowly]\r\n"
            self._dropped = 0
            return note.encode()
        if not self._waiting:
            return b""
        piece = self._waiting.popleft()
        self._size -= len(piece)
        return piece

    async def write(self, data: bytes) -> None:
        """Raises Unavailable when the guest's run has ended or it does not take what is typed."""
        await self._line.write(data)

    async def close(self) -> None:
        self.end()
        await self._line.leave(self)

    def put(self, piece: bytes) -> None:
        """The guest printed `piece`: the oldest output makes room, the guest never waits."""
        self._waiting.append(piece)
        self._size += len(piece)
        while self._size > LONGEST_QUEUE:
            oldest = self._waiting.popleft()
            self._size -= len(oldest)
            self._dropped += len(oldest)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()


class _Line:
    """The one connection to a guest's console, shared by its sessions; it ends with the last of them, or with QEMU."""

    def __init__(self, instance: str, wire: Wire, output: Output) -> None:
        self._instance = instance
        self._wire = wire
        self._output = output
        self._writing = asyncio.Lock()
        self._sessions: set[Session] = set()
        self._task = asyncio.create_task(self._follow())

    @property
    def ended(self) -> bool:
        return self._task.done() or self._wire.ended

    def join(self, history: int) -> Session:
        session = Session(self)
        if history and (before := self._output.before(history)):
            session.put(before)
        self._sessions.add(session)
        return session

    async def leave(self, session: Session) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            await self.close()

    async def write(self, data: bytes) -> None:
        if self.ended:
            raise Unavailable(
                "its console is closed: the guest's run has ended", f"instance {self._instance}", "attach again when it runs"
            )
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._writing:
                await self._wire.write(data)
        except TimeoutError as error:
            raise Unavailable(
                "the guest does not take what is typed", f"instance {self._instance}", "it may hang: see its output"
            ) from error
        except OSError as error:
            raise Unavailable("its console went away", f"instance {self._instance}", "attach again when it runs") from error

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._wire.close()  # also where the task had not begun

    async def _follow(self) -> None:
        try:
            while piece := await self._output.read():
                for session in self._sessions:
                    session.put(piece)
        except OSError:
            pass  # QEMU was killed: the end of the run, as below
        finally:
            self._wire.close()
            for session in self._sessions:
                session.end()


class Consoles:
    """`socket` and `log` tell where a guest's console is (Hypervisor.console, Hypervisor.console_log)."""

    def __init__(self, socket: Callable[[str], Path], log: Callable[[str], Path]) -> None:
        self._socket = socket
        self._log = log
        self._lines: dict[str, _Line] = {}
        self._connecting: dict[str, asyncio.Lock] = {}

    async def attach(self, instance: str, history: int = HISTORY) -> Session:
        """A session that begins with the last `history` bytes the guest has printed (for who joins others, a few of them may come
        twice: better than a gap). Raises Unavailable when the guest does not run."""
        async with self._connecting.setdefault(instance, asyncio.Lock()):
            line = self._lines.get(instance)
            if line is None or line.ended:
                line = self._lines[instance] = await self._connect(instance)
            return line.join(history)

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()
        self._lines.clear()

    async def _connect(self, instance: str) -> _Line:
        output = Output(self._log(instance))
        try:
            wire = await Wire.connect(self._socket(instance))
        except OSError as error:
            raise Unavailable("it has no console: it does not run", f"instance {instance}", "start it, then attach") from error
        output.follow(wire)
        return _Line(instance, wire, output)
