"""Several Coveys on one machine."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.covey_up import BAD_INPUT, DONE, FAILED, NO_ANSWER, START_WITHIN_S, CoveyUp, a_covey
from tests.kit.eventually import eventually


@pytest.mark.real
async def test_two_coveys_with_everything_of_the_same_name_do_not_disturb_each_other() -> None:
    async with a_covey() as first, a_covey() as second:
        for covey in (first, second):
            await covey.do("instance add web1 --image tick --memory 16M --nic default,mac=02:c0:7e:11:22:33,address=10.77.0.9")
        pids = [(await covey.instance("web1"))["pid"] for covey in (first, second)]
        await first.do("instance remove web1 --yes")
        await first.do("network remove default --yes")
        await first.kill_host()
        await second.goes_on("web1")
        assert await second.findings() == []
        assert list(second.guests.values()) == pids[1:]
        await first.start()
        assert await first.json("instance list") == []


async def test_whoever_reads_that_covey_runs_is_answered_at_once() -> None:
    covey = CoveyUp("fake")
    try:
        covey.launch()
        await eventually(lambda: "covey runs with its state in" in covey.log.read_text(), within=START_WITHIN_S)
        assert (await covey.ask("status")).status == DONE
    finally:
        await covey.close()


async def test_a_second_covey_on_the_same_state_is_refused_with_a_sentence() -> None:
    async with a_covey("fake", initialised=False) as covey:
        daemons = covey.daemons
        answer = await covey.ask(f"up --hosts fake --state {covey.state}")
        assert answer.status == FAILED
        assert str(covey.state) in answer.err
        assert "another covey runs on this state directory" in answer.err
        assert "--state" in answer.err
        assert covey.daemons == daemons


async def test_without_a_covey_every_command_says_that_none_answers() -> None:
    async with a_covey("fake", initialised=False) as covey:
        await covey.stop()
        for line in ("status", "instance list", "instance add web1", "job list", "cluster verify"):
            said = await covey.fail(line, status=NO_ANSWER)
            assert "covey up" in said
            assert str(covey.state) in said


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "127.0.0.1:"])
async def test_an_address_that_is_none_is_refused_before_anything_runs(listen: str) -> None:
    covey = CoveyUp("fake", "--listen", listen)
    try:
        process = covey.launch()
        assert await asyncio.to_thread(process.wait, 30) == BAD_INPUT
        assert "--listen" in covey.log.read_text()
        assert not covey.daemons
    finally:
        await covey.close()
