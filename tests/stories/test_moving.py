"""A guest goes from one node to another with its disk, in a lab of namespaces: real agents, real TLS, real QEMU."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.a_lab import UP_LIMIT_S, ALab, a_lab
from tests.kit.bootsector import ticking, write_image
from tests.kit.covey_up import DONE, FAILED
from tests.kit.eventually import eventually

pytestmark = pytest.mark.timeout(600)
MIB = 2**20


async def test_a_stopped_guest_is_moved_goes_on_and_stays_whole_when_the_power_goes() -> None:
    async with a_lab() as lab:
        await lab.do("up --nodes 2 --accelerator tcg", within=UP_LIMIT_S)
        await a_guest_on_the_first(lab)
        await it_goes_on_on_the_second(lab)
        await the_power_of_its_node_goes_while_it_is_copied(lab)


async def a_guest_on_the_first(lab: ALab) -> None:
    image = write_image(lab.directory / "tick.raw", ticking(obeys=True))
    await lab.on("n1", f"covey image add tick --source {image} --quiet")
    image.unlink()
    await eventually(lambda: is_ready(lab, "n2"), within=60.0)
    await lab.on("n1", "covey instance add web1 --image tick --memory 16M --node n1 --quiet")
    await eventually(lambda: has_ticked(lab, 1), within=60.0)


async def it_goes_on_on_the_second(lab: ALab) -> None:
    refused = await lab.ask("shell n1 -- covey instance move web1")
    assert refused.status == FAILED and "covey instance migrate web1" in refused.err
    await lab.on("n1", "covey instance stop web1 --quiet")
    shown = await lab.on("n1", "covey instance move web1 --dry-run")
    assert "n1 to n2" in shown and "volume 1M brought from n1" in shown
    before = await disk(lab)
    await lab.on("n1", "covey instance move web1 --quiet")
    assert (await instance(lab))["node"] == "n2"
    after = await disk(lab)
    assert after["volume"] != before["volume"]
    await eventually(lambda: nothing_is_left(lab), within=60.0)
    ticked = await last_tick(lab)
    await lab.on("n1", "covey instance start web1 --quiet")
    await eventually(lambda: has_ticked(lab, ticked + 1), within=60.0)
    assert json.loads(await lab.on("n1", "covey cluster verify --json"))["findings"] == []


async def the_power_of_its_node_goes_while_it_is_copied(lab: ALab) -> None:
    """Until all of it is there, it is where it was: it waits for its node, and goes on when that is back."""
    await lab.on("n1", "covey instance stop web1 --quiet")
    ticked = await last_tick(lab)
    await lab.on("n1", "covey disk add web1 300M --format raw --quiet")
    full = await file_of(lab, (await disk(lab, 1))["volume"])
    await lab.on("n2", f"dd if=/dev/urandom of={full} bs=1M count=300 conv=notrunc status=none")
    job = (await lab.on("n1", "covey instance move web1 --to n1 --no-wait")).strip()
    await eventually(lambda: is_copying(lab, job), within=60.0)
    await lab.do("power n2 off")
    assert (await instance(lab))["node"] == "n2"
    await lab.do("power n2 on", within=UP_LIMIT_S)
    await eventually(lambda: is_over(lab, job), within=150.0)
    where = str((await instance(lab))["node"])
    await eventually(lambda: is_ready(lab, "n2"), within=60.0)
    await eventually(lambda: starts(lab), within=60.0)
    await eventually(lambda: has_ticked(lab, ticked + 1), within=60.0)
    print(f"it ended on {where}")


async def instance(lab: ALab) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await lab.on("n1", "covey instance info web1 --json"))
    return told


async def disk(lab: ALab, index: int = 0) -> dict[str, Any]:
    disks: list[dict[str, Any]] = json.loads(await lab.on("n1", "covey disk list web1 --json"))
    return next(one for one in disks if one["index"] == index)


async def file_of(lab: ALab, volume: str) -> str:
    """Where a volume lies on any node that has it: pools have one path in the cluster, each node its own file system behind it."""
    (pool,) = json.loads(await lab.on("n1", "covey pool list --json"))
    return f"{pool['path']}/volumes/{volume}.raw"


async def is_ready(lab: ALab, node: str) -> bool:
    told = {one["name"]: one for one in json.loads(await lab.on("n1", "covey node list --json"))}
    return node in told and bool(told[node]["answers"]) and told[node]["state"] == "ready"


async def has_ticked(lab: ALab, least: int) -> bool:
    return await last_tick(lab) >= least


async def last_tick(lab: ALab) -> int:
    """The counter that the guest keeps on its disk, as it last printed it; 0 before."""
    answer = await lab.ask("shell n1 -- covey instance console web1 --log")
    lines = [line for line in answer.out.split("\n")[:-1] if line.startswith("T") and len(line) == 9]
    return int(lines[-1][1:], 16) if lines else 0


async def nothing_is_left(lab: ALab) -> bool:
    """The first node has neither its domain nor a volume of it."""
    jobs = json.loads(await lab.on("n1", "covey job list --json"))
    return any(job["kind"] == "node.clear" and job["state"] == "succeeded" for job in jobs)


async def is_copying(lab: ALab, job: str) -> bool:
    told = json.loads(await lab.on("n1", f"covey job info {job} --json"))
    assert told["state"] == "running", told
    progress = told["progress"]
    return bool(progress) and progress["text"] == "copying" and progress["done"] > 0


async def is_over(lab: ALab, job: str) -> bool:
    return bool(json.loads(await lab.on("n1", f"covey job info {job} --json"))["ended_at"])


async def starts(lab: ALab) -> bool:
    return (await lab.ask("shell n1 -- covey instance start web1 --quiet")).status == DONE
