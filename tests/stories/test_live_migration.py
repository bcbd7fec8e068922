"""A guest moves between two nodes while it runs, is given up half-way, and stays when the other node dies: by the command line alone."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.kit.a_lab import NAME, UP_LIMIT_S, ALab, a_lab
from tests.kit.bootsector import ticking, write_image
from tests.kit.covey_up import DONE
from tests.kit.eventually import eventually

pytestmark = pytest.mark.timeout(600)
SIZE = 24 * 2**20  # bytes of the disk: at the slowest rate that is half a minute


async def test_a_guest_moves_and_misses_no_tick_is_given_up_and_outlives_the_other_node() -> None:
    async with a_lab() as lab:
        await lab.do("up --nodes 2 --accelerator tcg", within=UP_LIMIT_S)
        await a_guest_runs(lab)
        await it_moves_there_and_back_and_misses_no_tick(lab)
        await given_up_it_goes_on_where_it_is(lab)
        await it_outlives_the_node_that_it_was_on_its_way_to(lab)


async def a_guest_runs(lab: ALab) -> None:
    """On a disk of its own, full of what does not compress."""
    image = write_image(lab.directory / "tick.raw", ticking(obeys=True), SIZE)
    with image.open("r+b") as file:
        file.seek(2**20)
        file.write(os.urandom(SIZE - 2**20))
    await lab.on("n1", f"covey image add tick --source {image} --quiet")
    await lab.on("n1", "covey network add site --type adopted --bridge br0 --quiet")
    await lab.on("n1", f"covey instance add web1 --image tick --disk {SIZE},format=raw --memory 16M --node n1 --quiet")


async def it_moves_there_and_back_and_misses_no_tick(lab: ALab) -> None:
    logs = [await console(lab, "n1")]
    await eventually(lambda: ticks(logs), within=60.0)
    shown = await lab.on("n1", "covey instance migrate web1 --dry-run")
    assert "move instance web1 from n1 to n2 while it runs" in shown and "(no way back)" in shown
    before = await instance(lab)
    for target in ("n2", "n1"):
        await eventually(lambda target=target: is_moved(lab, target), within=120.0)
        after = await instance(lab)
        assert (after["node"], after["state"]) == (target, "running")
        logs.append(await console(lab, target))
        seen = len(ticks(logs))
        await eventually(lambda seen=seen: len(ticks(logs)) > seen + 2, within=60.0)
    told = ticks(logs)
    assert told == list(range(told[0], told[-1] + 1)), "each tick once, whichever node it was told on"
    assert after["generation"] == before["generation"] + 2
    assert "0 errors, 0 warnings" in await lab.on("n1", "covey cluster verify")
    with ExitStack() as stack:
        for log in logs:
            stack.enter_context(log)


async def is_moved(lab: ALab, target: str) -> bool:
    """Asked again while what it left there before is being cleared."""
    answer = await lab.ask(f"shell n1 -- covey instance migrate web1 --to {target} --quiet", within=120.0)
    assert answer.status == DONE or "is not cleared yet" in answer.err, answer
    return answer.status == DONE


async def given_up_it_goes_on_where_it_is(lab: ALab) -> None:
    job = await under_way(lab)
    await lab.on("n1", f"covey job cancel {job}", within=120.0)
    await eventually(lambda: has_ended(lab, job, "cancelled"), within=120.0)
    await it_ticks_on(lab)
    assert "0 errors, 0 warnings" in await lab.on("n1", "covey cluster verify"), "nothing is left there"


async def it_outlives_the_node_that_it_was_on_its_way_to(lab: ALab) -> None:
    job = await under_way(lab)
    await lab.do("power n2 off")
    await it_ticks_on(lab)
    await lab.do("power n2 on", within=UP_LIMIT_S)
    await eventually(lambda: has_ended(lab, job, "failed"), within=300.0)
    await it_ticks_on(lab)


async def under_way(lab: ALab) -> int:
    """A move that takes half a minute, as soon as something of it is on the other node: its job."""
    said = await lab.on("n1", "covey instance migrate web1 --to n2 --bandwidth 10M --no-wait")
    job = int(said.split()[-1])
    await eventually(lambda: list(Path(lab.directory, NAME, "n2/state/libvirt/run/qemu").glob("*-*.pid")), within=120.0)
    return job


async def has_ended(lab: ALab, job: int, state: str) -> bool:
    told = json.loads(await lab.on("n1", f"covey job info {job} --json"))
    assert told["state"] in ("running", "undoing", state), told
    return bool(told["state"] == state)


async def it_ticks_on(lab: ALab) -> None:
    assert (await instance(lab))["node"] == "n1"
    with await console(lab, "n1") as log:
        seen = len(ticks([log]))

        async def goes_on() -> bool:
            await asyncio.sleep(0.2)
            return len(ticks([log])) > seen + 2

        await eventually(goes_on, within=60.0)


async def instance(lab: ALab) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await lab.on("n1", "covey instance info web1 --json"))
    return told


async def console(lab: ALab, node: str) -> BinaryIO:
    """What it prints on that node: open, so that the end is not lost when the guest leaves."""
    id = (await instance(lab))["id"]
    return opened(Path(lab.directory, NAME, node, "state/guests", id, "console.log"))


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


def ticks(logs: list[BinaryIO]) -> list[int]:
    """The whole lines of its counter, log after log."""
    found: list[int] = []
    for log in logs:
        log.seek(0)
        lines = log.read().split(b"\n")[:-1]
        found += [int(line[1:], 16) for line in lines if line.startswith(b"T") and len(line) == 9]
    return found
