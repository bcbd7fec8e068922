"""The controller is down, and a person has to act on the machine itself: `covey local`, on a real libvirt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import DONE, CoveyUp, a_covey
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        for name in ("web1", "web2"):
            await covey.do(f"instance add {name} --image tick --memory 16M")
            await covey.goes_on(name)
        yield covey


async def test_while_a_leader_leads_one_is_sent_to_it(covey: CoveyUp) -> None:
    assert "a leader leads this machine: covey instance list" in await covey.do("local list")
    await covey.fail("local stop web1 --yes", says=("a leader leads this machine", "try: covey instance stop web1"))
    await covey.becomes("web1", "running")


async def test_guests_are_seen_stopped_and_started_without_a_controller_and_the_next_one_follows(covey: CoveyUp) -> None:
    web2 = await covey.instance("web2")
    await covey.kill_up()
    await covey.fail("instance list", status=3)
    covey.launch_alone("agent")

    async def agent_answers() -> bool:
        return (await covey.ask("local list")).status == DONE

    await eventually(agent_answers)
    rows = {row["name"]: row["state"] for row in await covey.json("local list")}
    assert rows == {"web1": "running", "web2": "running"}
    await covey.do("local stop web1 --yes --now --reason 'the room is hot'")
    assert [row["name"] for row in await covey.json("local list --filter state=running")] == ["web2"]
    covey.kill([covey.guests[web2["id"]]])
    await eventually(lambda: web2["id"] not in covey.guests)
    said = await covey.do("local start web2 --yes")  # a single machine knows that it runs nowhere else
    assert "generation 2" in said
    await covey.stop()

    await covey.start()
    await covey.becomes("web2", "running")
    web1, web2 = await covey.instance("web1"), await covey.instance("web2")
    assert (web1["state"], web1["desired"]) == ("stopped", "stopped")
    assert web1["desired_by"].endswith("by covey local")
    assert (web2["generation"], web2["desired"]) == (2, "running")
    told = await covey.do("event list --filter kind=instance.local-*")
    assert "stop instance web1" in told and "the room is hot" in told and "start instance web2" in told
    assert await covey.findings() == []
    await covey.do("instance start web1")
    assert (await covey.instance("web1"))["generation"] == 2
    await covey.goes_on("web1")


async def test_the_next_leader_after_that_hears_nothing_anew(covey: CoveyUp) -> None:
    await covey.stop()
    await covey.start()
    await covey.becomes("web1", "running")
    assert (await covey.do("event list --filter kind=instance.local-stop")).count("stop instance web1") == 1
