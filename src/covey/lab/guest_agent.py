"""Commands within a lab machine by QEMU's guest agent: no network and no terminal needed (QEMU: docs/interop/qemu-ga-ref)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covey.base.errors import StepFailed, Unavailable
from covey.base.run import Completed

LARGEST_ANSWER = 2**24
FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.5  # between two questions whether a command has ended
_numbers = itertools.count(os.getpid() << 16)


@dataclass(frozen=True, slots=True)
class GuestAgent:
    """The agent behind a unix socket of QEMU's, which takes one caller at a time."""

    socket: Path

    async def run(self, *argv: str, within: float) -> Completed:
        """Run a program to its end. Raises Unavailable when the machine says nothing within that many seconds, StepFailed when the program
        does not end within them (it is left running)."""
        try:
            async with asyncio.timeout(within), self._talk() as talk:
                wanted = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
                pid = (await talk.call("guest-exec", wanted))["pid"]
                pause = FIRST_LOOK_S
                while not (told := await talk.call("guest-exec-status", {"pid": pid}))["exited"]:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, LAST_LOOK_S)
        except TimeoutError:
            raise StepFailed(f"no end within {within:g} s: {' '.join(argv)[:500]}", f"machine at {self.socket}") from None
        status = told.get("exitcode", -told.get("signal", 0))
        return Completed(argv, status, _bytes(told, "out-data"), _bytes(told, "err-data"))

    async def answers(self, within: float) -> bool:
        """Whether there is an agent that answers by now."""
        try:
            async with asyncio.timeout(within), self._talk() as talk:
                await talk.call("guest-ping", {})
        except (TimeoutError, Unavailable):
            return False
        return True

    @asynccontextmanager
    async def _talk(self) -> AsyncIterator[_Talk]:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=LARGEST_ANSWER)
        except OSError as error:
            raise Unavailable(f"no way in: {error.strerror}", f"machine at {self.socket}") from error
        try:
            talk = _Talk(reader, writer, self.socket)
            await talk.begin()
            yield talk
        finally:
            writer.transport.abort()


@dataclass(frozen=True, slots=True)
class _Talk:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    socket: Path

    async def begin(self) -> None:
        """Get past what an earlier caller may have left in the channel."""
        number = next(_numbers)
        self.writer.write(b"\xff")
        await self._say("guest-sync-delimited", {"id": number})
        while True:
            line = (await self._line()).rpartition(b"\xff")[2]
            if line.strip() and json.loads(line).get("return") == number:
                return

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        await self._say(name, arguments)
        answer = json.loads(await self._line())
        if "error" in answer:
            raise StepFailed(answer["error"].get("desc", "refused"), f"{name} of the machine at {self.socket}")
        return answer["return"]

    async def _say(self, name: str, arguments: dict[str, Any]) -> None:
        self.writer.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        await self.writer.drain()

    async def _line(self) -> bytes:
        line = await self.reader.readline()
        if not line:
            raise Unavailable("it hung up", f"machine at {self.socket}")
        return line


def _bytes(told: dict[str, Any], key: str) -> bytes:
    return base64.b64decode(told.get(key, ""))
