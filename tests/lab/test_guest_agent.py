"""Talking to a guest agent, here one of a few lines."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from covey.base.errors import StepFailed, Unavailable
from covey.lab.guest_agent import GuestAgent


class Pretended:
    """An agent whose programs end at the third question; `program` says with which status and words."""

    def __init__(self) -> None:
        self.program: Callable[[list[str]], tuple[int, str]] = lambda words: (0, " ".join(words))
        self.is_silent = False
        self.asked = 0
        self.started: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"return": {}}\n')  # the answer to a caller that is gone
        while line := await reader.readline():
            said = json.loads(line.rpartition(b"\xff")[2])
            if not self.is_silent:
                delimiter = b"\xff" if said["execute"] == "guest-sync-delimited" else b""
                writer.write(delimiter + json.dumps(self.answer(said["execute"], said["arguments"])).encode() + b"\n")
        writer.close()

    def answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        match name:
            case "guest-sync-delimited":
                return {"return": arguments["id"]}
            case "guest-ping":
                return {"return": {}}
            case "guest-exec":
                self.started = [arguments["path"], *arguments["arg"]]
                return {"return": {"pid": 7}}
            case "guest-exec-status" if arguments == {"pid": 7}:
                self.asked += 1
                if self.asked < 3:
                    return {"return": {"exited": False}}
                status, words = self.program(self.started)
                return {"return": {"exited": True, "exitcode": status, "out-data": base64.b64encode(words.encode()).decode()}}
        return {"error": {"desc": f"unknown: {name}"}}


@pytest_asyncio.fixture
async def guest(tmp_path: Path) -> AsyncIterator[tuple[Pretended, GuestAgent]]:
    pretended = Pretended()
    server = await asyncio.start_unix_server(pretended.serve, tmp_path / "s")
    async with server:
        yield pretended, GuestAgent(tmp_path / "s")


async def test_a_program_is_followed_to_its_end(guest: tuple[Pretended, GuestAgent]) -> None:
    pretended, agent = guest
    done = await agent.run("echo", "a", "b", within=10)
    assert (done.status, done.text) == (0, "echo a b")
    pretended.program = lambda words: (3, "no")
    assert (await agent.run("false", within=10)).status == 3


async def test_nothing_is_waited_for_without_end(guest: tuple[Pretended, GuestAgent]) -> None:
    pretended, agent = guest
    assert await agent.answers(within=10)
    pretended.is_silent = True
    assert not await agent.answers(within=0.2)
    with pytest.raises(StepFailed, match="no end within"):
        await agent.run("true", within=0.2)


async def test_a_machine_that_is_not_there_is_named(tmp_path: Path) -> None:
    agent = GuestAgent(tmp_path / "none")
    assert not await agent.answers(within=1)
    with pytest.raises(Unavailable, match="no way in") as error:
        await agent.run("true", within=1)
    assert str(tmp_path) in error.value.object
