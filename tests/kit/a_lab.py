"""A namespace lab for a story, driven by its command line alone, and what of it can be seen from outside."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.covey_up import COMMAND_LIMIT_S, DONE, SCRATCH, Answer, ask_covey, command_lines, mounts_below
from tests.kit.eventually import eventually

NAME = "story"
UP_LIMIT_S = 240.0  # on a machine that does much else; and time is no claim of a story's
DOWN_LIMIT_S = 90.0


@dataclass(frozen=True, slots=True)
class ALab:
    """The lab `story` of a directory of its own."""

    directory: Path

    async def ask(self, line: str, within: float = COMMAND_LIMIT_S) -> Answer:
        """`covey lab` with these words. What follows a " -- " is for a node."""
        line, _, rest = line.partition(" -- ")
        words = ["lab", *shlex.split(line), "--name", NAME, *(["--", *shlex.split(rest)] if rest else [])]
        return await ask_covey(words, {"COVEY_LAB_DIR": str(self.directory)}, within=within)

    async def do(self, line: str, within: float = COMMAND_LIMIT_S) -> str:
        """It must succeed; what it said."""
        answer = await self.ask(line, within)
        assert answer.status == DONE, answer
        return answer.out

    async def on(self, node: str, line: str, within: float = COMMAND_LIMIT_S) -> str:
        """A command on a node, which must succeed; what it said."""
        return await self.do(f"shell {node} -- {line}", within)

    async def hears(self, node: str, other: str) -> bool:
        """Whether a node is answered by another, asked once."""
        answer = await self.ask(f"shell {node} -- ping -c 1 -W 1 {other}")
        assert answer.status in (0, 1), answer  # ping(8): 2 is another error
        return answer.status == 0

    async def will_hear(self, node: str, other: str) -> None:
        async def hears() -> bool:
            return await self.hears(node, other)

        await eventually(hears, within=30.0)

    async def look(self) -> dict[str, Any]:
        """The nodes by name, as `lab status` shows them."""
        return {node["name"]: node for node in json.loads(await self.do("status --json"))["nodes"]}

    def left(self) -> list[str]:
        """Whatever there is on the machine that bears this lab's name: processes, namespaces, mounts, files."""
        own = str(self.directory).encode()
        processes = [b" ".join(words).decode() for _, words in command_lines() if own in b" ".join(words)]
        namespaces = [str(path) for path in Path("/run/netns").glob(f"lab.{NAME}.*") if path.name.split(".")[2] == self._digest]
        mounts = [
            *mounts_below(self.directory),
            *(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"lab.{NAME}.{self._digest}." in line),
        ]
        files = [str(path) for path in self.directory.rglob("*")]
        return [*processes, *namespaces, *mounts, *files]

    @property
    def _digest(self) -> str:
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]


def links_here() -> set[str]:
    """The links of the machine itself."""
    told = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True, timeout=20)
    return {link["ifname"] for link in json.loads(told.stdout)}


@asynccontextmanager
async def a_lab() -> AsyncIterator[ALab]:
    """A directory for a lab, which is removed with whatever is in it. KEEP=1 leaves it there."""
    lab = ALab(Path(tempfile.mkdtemp(prefix=f"cvl{os.getpid()}-", dir=SCRATCH)))
    lab.directory.chmod(0o711)  # QEMU's user must get through
    try:
        yield lab
    finally:
        if os.environ.get("KEEP"):
            print(f"KEEP: left as it is: COVEY_LAB_DIR={lab.directory} covey lab status --name {NAME}")
        else:
            await lab.do("down", within=DOWN_LIMIT_S)
            shutil.rmtree(lab.directory, ignore_errors=True)
