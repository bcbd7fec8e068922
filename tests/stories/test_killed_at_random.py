"""Controller, agent and `covey up` itself are killed again and again while there is work: every job that was accepted ends, and what it
leaves is whole, or named with its repair. The moments are drawn from fixed seeds (rule T6, on real processes)."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.kit.covey_up import DONE, NO_ANSWER, CoveyUp, a_covey
from tests.kit.eventually import eventually

ENDED = ("succeeded", "failed", "cancelled", "superseded", "needs_repair")
VICTIMS = ("controller", "agent", "both", "covey up")


class Killer:
    """Kills one of `VICTIMS` now and then, until told to stop; `covey up` is started again by it, the others by `covey up`."""

    def __init__(self, covey: CoveyUp, seed: int, most: int, longest_pause_s: float) -> None:
        self.killed: list[str] = []
        self._covey = covey
        self._rng = random.Random(seed)
        self._most = most
        self._longest_pause_s = longest_pause_s
        self._enough = asyncio.Event()

    async def run(self) -> None:
        order = [VICTIMS[number % len(VICTIMS)] for number in range(self._most)]
        self._rng.shuffle(order)
        for victim in order:
            try:
                async with asyncio.timeout(self._rng.uniform(0.02, self._longest_pause_s)):
                    await self._enough.wait()
                return
            except TimeoutError:
                await self._kill(victim)

    async def _kill(self, victim: str) -> None:
        self.killed.append(victim)
        if victim == "covey up":
            await self._covey.kill_up()
            self._covey.launch()
            return
        daemons = self._covey.daemons
        self._covey.kill(pid for name, pid in daemons.items() if victim in (name, "both"))

    def stop(self) -> None:
        self._enough.set()


class Work:
    """Hands changes in, and keeps the numbers of the jobs that were accepted."""

    def __init__(self, covey: CoveyUp) -> None:
        self.accepted: set[int] = set()
        self._covey = covey

    async def hand_in(self, line: str, stdin: bytes | None = None) -> None:
        """Until the command got an answer; what nobody answered may or may not have been accepted."""

        async def answered() -> bool:
            answer = await self._covey.ask(f"{line} --no-wait", stdin=stdin)
            assert "Traceback" not in answer.err, answer
            self.accepted.update(int(word) for word in answer.out.split() if word.isdigit())
            return answer.status != NO_ANSWER and "no answer" not in answer.err

        await eventually(answered, within=60.0)

    async def all_ended(self) -> dict[int, str]:
        """Wait until every accepted job has ended; how."""
        listed: dict[int, str] = {}

        async def have_ended() -> bool:
            answer = await self._covey.ask("job list --limit 10000 --json")
            if answer.status == DONE:
                listed.update({job["id"]: job["state"] for job in json.loads(answer.out)})
            return answer.status == DONE and all(state in ENDED for state in listed.values()) and self.accepted <= set(listed)

        await eventually(have_ended, within=90.0)
        return {id: listed[id] for id in self.accepted}


async def check_whole(covey: CoveyUp) -> None:
    """Nothing is between new and old: verify is clean, or what it names is mended by --fix or goes by itself."""
    await eventually(covey.answers, within=30.0)

    async def is_clean() -> bool:
        findings = await covey.findings()
        for finding in findings:
            assert finding["fix"], finding
        if any(finding["fixable"] for finding in findings):
            await covey.ask("cluster verify --fix --yes")
        return not findings

    await eventually(is_clean, within=60.0)
    for instance in await covey.json("instance list"):
        assert instance["state"] in ("running", "stopped"), instance
        assert instance["state"] == instance["desired"], instance


@pytest.mark.parametrize("seed", [1, 2])
async def test_with_many_pretended_instances(seed: int) -> None:
    async with a_covey("fake") as covey:
        work, killer = Work(covey), Killer(covey, seed, most=6, longest_pause_s=1.5)
        killing = asyncio.create_task(killer.run())
        for batch in range(4):
            names = [f"b{batch}-{number}" for number in range(25)]
            many = json.dumps([{"name": name, "image": "tick", "memory": "16M", "disk": ["2G", "1M"]} for name in names])
            await work.hand_in("instance add -f - --yes", stdin=many.encode())
            if batch:
                await work.hand_in(f"instance stop --filter 'name=b{batch - 1}-1*' --now --yes")
                await work.hand_in(f"instance remove --filter 'name=b{batch - 1}-2*' --yes")
        killer.stop()
        await killing
        assert len(killer.killed) >= 3, "the work was over before there was any killing"
        ended = await work.all_ended()
        assert len(ended) >= 50
        await check_whole(covey)
        made = {each["name"] for each in await covey.json("instance list")}
        for job in await covey.json("job list --limit 10000 --filter kind=instance.add"):
            name = job["object"].removeprefix("instance ")
            removed = name.partition("-")[2].startswith("2")
            if job["state"] == "succeeded" and not removed:
                assert name in made, f"job {job['id']} said that it made {name}"


@pytest.mark.real
@pytest.mark.parametrize("seed", [1, 2])
async def test_with_a_few_real_instances(seed: int) -> None:
    async with a_covey() as covey:
        work, killer = Work(covey), Killer(covey, seed, most=4, longest_pause_s=1.5)
        await covey.do("instance add stays --image tick --memory 16M")
        stays = await covey.instance("stays")
        killing = asyncio.create_task(killer.run())
        for name in ("a", "b", "c"):
            await work.hand_in(f"instance add {name} --image tick --memory 16M --disk 1M --disk 1M")
        await work.hand_in("instance stop a --now")
        await work.hand_in("disk add b 2M")
        await work.hand_in("instance remove c --yes")
        await work.hand_in("instance reset b --yes")
        killer.stop()
        await killing
        assert killer.killed
        await work.all_ended()
        await check_whole(covey)
        assert covey.guests[stays["id"]] == stays["pid"], "whoever was not asked for lived on untouched"
        await covey.goes_on("stays")
        known = {each["id"] for each in await covey.json("instance list")}
        assert set(covey.guests) <= known
        running = [each["name"] for each in await covey.json("instance list") if each["state"] == "running"]
        for name in running:
            await covey.goes_on(name)
