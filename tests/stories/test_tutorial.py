"""The tutorial is run as it is written, command by command, on pretended hosts.

What a pretended host cannot do is marked in the document, in a comment before the block: `<!-- pretended hosts cannot: WORD, WORD -->`.
A command of that block that begins so is passed over, counted and printed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex

import pytest

from tests.kit.covey_up import COMMAND_LIMIT_S, COVEY, ROOT, CoveyUp

TUTORIAL = ROOT / "docs/tutorial/first-server.md"
BLOCK = re.compile(r"(?:<!-- pretended hosts cannot: ([^>]+) -->\n)?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "<!-- pretended hosts cannot:"
MOST_PASSED_OVER = 11  # a tutorial of which less than that is run proves too little


def commands() -> list[tuple[str, bool]]:
    """Every command that the reader types at root's prompt, in order, and whether it is passed over here."""
    found = []
    for cannot, block in BLOCK.findall(TUTORIAL.read_text()):
        beginnings = tuple(word.strip() for word in cannot.split(",")) if cannot else ()
        lines = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        for beginning in beginnings:
            assert any(line.startswith(beginning) for line in lines), (
                f"the mark names {beginning!r}, but the block has no such command"
            )
        found += [(line, line.startswith(beginnings) if beginnings else False) for line in lines]
    return found


def test_every_mark_stands_before_a_block() -> None:
    text = TUTORIAL.read_text()
    assert text.count(MARK) == sum(1 for cannot, _ in BLOCK.findall(text) if cannot)


@pytest.mark.timeout(180)
async def test_the_tutorial_runs_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    covey = CoveyUp("fake")
    (covey.directory / "bin").mkdir()
    (covey.directory / "bin/covey").symlink_to(COVEY)
    (covey.directory / "demo").symlink_to(ROOT / "demo")
    passed_over, run = [], []
    try:
        await covey.start()  # which is its `covey up`
        for command, cannot in commands():
            if cannot:
                passed_over.append(command)
                continue
            status, said = await typed(covey, command)
            assert status == 0, f"# {command}\n{said}[exit {status}]"
            run.append(command)
    finally:
        await covey.close()
    with capsys.disabled():
        print(f"\ntutorial: {len(run)} commands run, {len(passed_over)} passed over: {'; '.join(passed_over)}")
    assert len(run) >= 20 and len(passed_over) <= MOST_PASSED_OVER
    assert not [
        command for command in passed_over if command.startswith("covey ") and command.split()[1] not in ("up", "instance")
    ]


async def typed(covey: CoveyUp, command: str) -> tuple[int, str]:
    """A command as its reader types it, in the directory of the story."""
    environment = {**os.environ, "PATH": f"{covey.directory / 'bin'}:{os.environ['PATH']}", "COVEY_STATE": str(covey.state)}
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd=covey.directory,
    )
    async with asyncio.timeout(COMMAND_LIMIT_S):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
