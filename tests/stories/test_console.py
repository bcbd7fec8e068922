"""A guest's serial console on a terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cli.terminal import on_terminal
from tests.kit.bootsector import write_image
from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually
from tests.stories.guests import echoing

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
ESCAPE = "\x1d"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        write_image(covey.directory / "echo.raw", echoing())
        await covey.do(f"image add echo --source {covey.directory}/echo.raw")
        await covey.do("instance add echo --image echo --memory 16M --nic none")

        async def speaks() -> bool:
            return "ready" in await covey.console("echo")

        await eventually(speaks)
        yield covey


async def test_a_terminal_shows_what_was_printed_before_and_what_is_typed_reaches_the_guest(covey: CoveyUp) -> None:
    with on_terminal(covey.state, "instance", "console", "echo") as terminal:
        terminal.expect("console of echo; escape: Ctrl-]")
        terminal.expect("ready")
        assert terminal.is_raw()
        terminal.type("hello")
        terminal.expect("hello")
        terminal.type(ESCAPE)
        assert terminal.end() == 0
        assert "left the console of echo" in terminal.seen
        assert not terminal.is_raw()
    assert "hello" in await covey.console("echo"), "it is kept"
    assert await covey.state_of("echo") == "running"


async def test_two_people_at_one_console_see_the_same(covey: CoveyUp) -> None:
    console = ("instance", "console", "echo")
    with on_terminal(covey.state, *console) as first, on_terminal(covey.state, *console) as second:
        for terminal in (first, second):
            terminal.expect("ready")
        first.type("from-first")
        for terminal in (first, second):
            terminal.expect("from-first")
        first.type(ESCAPE)
        assert first.end() == 0
        second.type("from-second")
        second.expect("from-second")
        second.type(ESCAPE)
        assert second.end() == 0


async def test_input_from_a_pipe_is_typed(covey: CoveyUp) -> None:
    said = await covey.do("instance console echo", stdin=b"from a pipe")
    assert said.endswith("from a pipe")


async def test_a_console_ends_with_the_run_of_its_guest(covey: CoveyUp) -> None:
    with on_terminal(covey.state, "instance", "console", "echo") as terminal:
        terminal.expect("ready")
        await covey.do("instance stop echo --now")
        assert terminal.end() in (0, 3)
        assert not terminal.is_raw()
    await covey.fail(
        "instance console echo", stdin=b"", says=["instance echo: it is stopped", "covey instance start echo", "--log"]
    )
    assert "from-second" in await covey.console("echo"), "what it printed is kept after its end"
    await covey.do("instance start echo")
