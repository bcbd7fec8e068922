"""Within a real guest, by its own agent, from the command line alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import DONE, CoveyUp, a_covey
from tests.kit.shell import Shell, add_micro

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
SECONDS = 15.0  # within which a guest without an agent is refused


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_a_guest_without_an_agent_is_refused_within_seconds_and_its_screen_is_seen_nevertheless(covey: CoveyUp) -> None:
    await covey.do("instance add mute --image tick --memory 16M")
    await covey.goes_on("mute")
    began = time.monotonic()
    await covey.fail("instance exec mute -- id", says=["instance mute", "qemu-guest-agent"])
    assert "no answer from its guest agent" in await covey.do("instance info mute")
    assert time.monotonic() - began < SECONDS
    picture = covey.directory / "mute.png"
    await covey.do(f"instance screenshot mute {picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    await covey.do("instance remove mute --yes")


@pytest.mark.timeout(400)  # the guest boots by emulation
async def test_a_guest_is_looked_into_and_commanded(covey: CoveyUp) -> None:
    await add_micro(covey)
    await covey.do("instance add web1 --iso micro --memory 160M")
    await Shell(covey, "web1").is_up()
    told = await covey.do("instance info web1")
    assert "Micro Linux" in told
    assert "eth0" in told

    answer = await covey.ask("instance exec web1 -- sh -c 'echo out; echo err >&2; exit 7'")
    assert (answer.status, answer.out, answer.err) == (7, "out\n", "err\n")
    assert (await covey.do("instance exec web1 -- echo", "$(id)", "a b")) == "$(id) a b\n", "no shell comes between"
    await covey.fail("instance exec web1 -- nonsense", says=["instance web1", "No such file"])


async def test_a_command_that_hangs_is_killed_and_holds_up_nobody(covey: CoveyUp) -> None:
    hanging = asyncio.create_task(covey.ask("instance exec web1 --timeout 3s -- sleep 1000"))
    assert (await covey.do("instance exec web1 -- echo meanwhile")) == "meanwhile\n"
    answer = await hanging
    assert answer.status == 1
    assert "was killed" in answer.err
    assert (await covey.ask("instance exec web1 -- sh -c 'ps | grep [s]leep.1000'")).status != DONE


async def test_a_password_and_keys_are_set_and_the_password_is_nowhere_to_be_found(covey: CoveyUp) -> None:
    await covey.do("instance set-password web1 root", stdin=b"correct horse battery\n")
    assert await covey.do("instance exec web1 -- cat /tmp/passwords") == "root:correct horse battery\n"
    key = covey.directory / "id.pub"
    key.write_text("ssh-ed25519 AAAAC3Nz anna\n")
    await covey.do(f"instance set-ssh-keys web1 root {key} --reset")
    assert "AAAAC3Nz" in await covey.do("instance exec web1 -- cat /root/.ssh/authorized_keys")
    said = covey.log.read_text() + await covey.do("event list --since 1h") + await covey.do("job list --json")
    assert "set the password of root in instance web1" in said
    assert "horse" not in said
    assert not [path for path in covey.state.rglob("*") if path.is_file() and b"correct horse" in path.read_bytes()[: 2**22]]
    await covey.do("instance remove web1 --yes")
