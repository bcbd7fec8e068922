"""Who may end a guest, and who may not; what comes back by itself, and what stays away. On a real libvirt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
import pytest_asyncio

from tests.kit.bootsector import GREETING
from tests.kit.covey_up import CoveyUp, a_covey
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        await covey.do("cluster modify --crash-restarts 2 --crash-window 10m")
        await covey.do("instance add runs --image tick --memory 16M")
        await covey.do("instance add rests --image tick --memory 16M")
        await covey.goes_on("rests")
        await covey.do("instance stop rests")
        yield covey


async def test_a_guest_that_powers_itself_off_stays_off(covey: CoveyUp) -> None:
    await covey.add_image("brief", ends_after=8)
    await covey.do("instance add brief --image brief --memory 16M")
    await covey.becomes("brief", "stopped")
    brief = await covey.instance("brief")
    assert (brief["desired"], brief["desired_by"], brief["reason"], brief["crashes"]) == ("stopped", "guest", "guest", 0)
    said = await covey.do("event list --filter object=*brief")
    assert "shut down" in said
    assert await covey.findings() == []
    await covey.do("instance start brief")
    await covey.becomes("brief", "stopped")
    await covey.do("instance remove brief --yes")


async def test_a_guest_whose_process_dies_comes_back_later_each_time_and_is_given_up_in_the_end(covey: CoveyUp) -> None:
    await covey.do("instance add frail --image tick --memory 16M")
    frail = await covey.instance("frail")
    for crash in (1, 2):
        await covey.goes_on("frail")
        covey.kill([covey.guests[frail["id"]]])
        await covey.becomes("frail", "crashed")
        seen = await covey.instance("frail")
        assert seen["crashes"] == crash
        pause = datetime.fromisoformat(seen["restart_at"]) - datetime.fromisoformat(seen["since_at"])
        assert round(pause.total_seconds()) == 2**crash
        await covey.becomes("frail", "running", within=pause.total_seconds() + 5)
    assert (await covey.instance("frail"))["generation"] == 3
    covey.kill([covey.guests[frail["id"]]])

    async def is_given_up() -> bool:
        return bool((await covey.instance("frail"))["gave_up"])

    await eventually(is_given_up)
    answer = await covey.ask("status")
    assert answer.status == 4
    assert "frail" in answer.out
    assert "given up" in answer.out
    assert "covey instance start frail" in answer.out
    (finding,) = await covey.findings()
    assert (finding["name"], finding["object"]) == ("lost", "instance frail")
    await covey.do("instance start frail")
    frail = await covey.instance("frail")
    assert (frail["state"], frail["crashes"], frail["gave_up"]) == ("running", 0, False)
    await covey.do("instance remove frail --yes")


@pytest.mark.parametrize(
    "ending", ["covey up is ended", "covey up is killed", "controller and agent are killed", "libvirtd is killed"]
)
async def test_guests_run_on_untouched_when(covey: CoveyUp, ending: str) -> None:
    await covey.goes_on("runs")
    before = await covey.instance("runs")
    if ending == "covey up is ended":
        await covey.stop()
        await covey.start()
    elif ending == "covey up is killed":
        await covey.kill_up()
        await covey.start()
    elif ending == "controller and agent are killed":
        gone = set(covey.daemons.values())
        covey.kill(gone)
        await eventually(lambda: len(covey.daemons) == 2 and not gone & set(covey.daemons.values()))
    else:
        await eventually(lambda: covey.libvirtd)
        covey.kill([covey.libvirtd])
    assert covey.guests[before["id"]] == before["pid"]
    await eventually(covey.answers)
    await covey.becomes("runs", "running")
    await covey.goes_on("runs")
    after = await covey.instance("runs")
    assert (after["pid"], after["generation"], after["crashes"]) == (before["pid"], before["generation"], 0)
    assert (await covey.console("runs")).count(GREETING) == before["generation"]
    assert covey.guests[before["id"]] == before["pid"]


async def test_libvirtd_that_was_killed_is_told_of_and_comes_back_by_itself(covey: CoveyUp) -> None:
    killed = covey.libvirtd
    covey.kill([killed])
    await eventually(lambda: covey.libvirtd not in (0, killed))
    await covey.do("instance reset runs --yes")
    await covey.goes_on("runs")
    assert await covey.findings() == []


@pytest.mark.parametrize("boot", ["the same boot", "a new boot"])
async def test_what_ran_comes_back_after_the_host_died_and_what_was_stopped_stays_stopped_in(covey: CoveyUp, boot: str) -> None:
    await covey.becomes("runs", "running")
    before = await covey.instance("runs")
    counted = await covey.ticks("runs")
    await covey.kill_host()
    if boot == "a new boot":  # the kernel's boot id, which a story cannot change, tells Covey of it; bridges and rules are gone
        (covey.state / "libvirt/boot").write_text("another boot")
        covey.remove_namespace()
        covey.make_namespace()
    await covey.start()

    async def is_back() -> bool:
        runs = await covey.instance("runs")
        return bool(runs["state"] == "running" and runs["generation"] > before["generation"])

    await eventually(is_back, within=40.0)
    await covey.goes_on("runs")
    assert await covey.ticks("runs") > counted, "it has the same disk"
    rests = await covey.instance("rests")
    assert (rests["state"], rests["desired"], rests["generation"]) == ("stopped", "stopped", 1)
    assert set(covey.guests) == {before["id"]}
    assert "cv-default" in covey.within("ip", "-o", "link")

    async def is_clean() -> bool:
        return await covey.findings() == []

    await eventually(is_clean)
    assert (await covey.ask("status")).status == 0
