"""Whatever was done since, an older copy of the records that is restored stops nothing, removes nothing and starts nothing twice (S14)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from covey.base.errors import CoveyError
from covey.host.shelf import Thing
from covey.model import record as records
from covey.model.request import Request
from covey.model.requests.cluster import FoundRun, ReconcileCluster
from covey.model.restoration import RESTORED
from covey.store.backup import Content, Head
from covey.store.protocol import LEASES, Delete, Put
from covey.store.restore import Return, brought_back
from tests.kit.virtual import run_virtual
from tests.simulation.requests import draw_request, first_instance
from tests.simulation.schedule import INSTANCES, settle
from tests.simulation.world import World

SEEDS = 40
LONG_S = 120.0  # for the healer to do what it must not
BEFORE, SINCE = 8, 12  # requests, besides the first instances


@pytest.mark.parametrize("batch", range(4))
def test_nothing_that_runs_is_touched_by_an_older_copy(batch: int) -> None:
    for seed in range(batch * SEEDS // 4, (batch + 1) * SEEDS // 4):
        world = run_virtual(_run(seed), within_s=50_000)
        assert world.broken == [], f"seed {seed}"


async def _run(seed: int) -> World:
    world = World(seed, nodes=1 + seed % 3, controllers=1 + seed // 3 % 3)
    await world.furnish()
    world.start()
    await asyncio.sleep(1.0)
    await _ask(world, [first_instance(number) for number in range(INSTANCES)])
    await _ask(world, [draw_request(world.random) for _ in range(BEFORE)])
    for _ in range(3):
        await _ask(world, [draw_request(world.random)], pause_s=0.2)
    copy = _entries(world)  # while jobs are under way
    await _ask(world, [draw_request(world.random) for _ in range(SINCE)])
    await settle(world)
    before = _runs(world)
    kept = _things(world)
    await _restore(world, copy)
    world.start_missing_controllers()
    await asyncio.sleep(LONG_S)
    _judge(world, before, kept, "while nothing was reconciled")
    if _runs(world) != before:
        world.violate("something was started before the records were reconciled")
    await _reconcile(world)
    await settle(world)
    _judge(world, before, kept, "after all was reconciled")
    await world.close()
    return world


async def _ask(world: World, requests: list[Request], pause_s: float = 3.0) -> None:
    for request in requests:
        try:
            await world.submit(request)
        except CoveyError as error:
            world.note(f"refused: {error.what}")
        await asyncio.sleep(world.random.random() * pause_s)


def _entries(world: World) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in world.data.list("", "", 0, False).entries if not entry.key.startswith(LEASES)}


async def _restore(world: World, copy: Mapping[str, bytes]) -> None:
    """As `covey cluster restore` does it while no controller runs."""
    for controller in world.living:
        await controller.stop()
    await asyncio.sleep(1.0)
    obeyed = max(file.epoch[0] for file in world.epochs.values())
    jobs = [int(key.rpartition("/")[2]) for key in copy if key.startswith(("state/job/", records.HISTORY))]
    content = Content(Head(world.clock.now(), "lab", "id", 1, 1, 1, max(jobs), 1, 1), {}, copy)
    returning = Return(RESTORED, obeyed + 1, "anna", world.clock.now(), max(jobs), max(world.acknowledged))
    entries = await brought_back(content, returning, world.clock)
    world.writer = None
    world.led.clear()  # epochs begin anew in the new incarnation
    gone = [Delete(key) for key in _entries(world) if key not in entries]
    world.data.write((), [*gone, *(Put(key, value) for key, value in entries.items())])
    world.note("an older copy was restored")


async def _reconcile(world: World) -> None:
    found = tuple(
        FoundRun(machine.node, id, "", thing["state"], thing["generation"])
        for machine in world.machines.values()
        for id, thing in _domains(machine.shelf.items("domain/"))
    )
    await world.submit(ReconcileCluster(found=found, answered=tuple(world.machines)))
    await settle(world)
    assert world.leader and world.leader.feed and not world.leader.feed.view.is_reconciling


def _domains(items: list[tuple[str, Thing]]) -> list[tuple[str, Thing]]:
    return [(key.removeprefix("domain/"), thing) for key, thing in items]


def _runs(world: World) -> dict[str, tuple[str, object, object]]:
    """Node, generation and process of what runs."""
    return {
        id: (machine.name, thing["generation"], thing["pid"])
        for machine in world.machines.values()
        for id, thing in _domains(machine.shelf.items("domain/"))
        if thing["state"] == "running"
    }


def _things(world: World) -> set[tuple[str, str]]:
    """Domains and volumes, wherever they are."""
    return {
        (machine.name, key)
        for machine in world.machines.values()
        for prefix in ("domain/", "volume:")
        for key, _ in machine.shelf.items(prefix)
    }


def _judge(world: World, before: dict[str, tuple[str, object, object]], kept: set[tuple[str, str]], when: str) -> None:
    after = _runs(world)
    for id, run in before.items():
        if after.get(id) != run:
            world.violate(f"{id} ran as {run}, and {when} is {after.get(id)}")
    for machine, key in sorted(kept - _things(world)):
        world.violate(f"{key} on {machine} is gone {when}")
