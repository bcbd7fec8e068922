"""Guests that move while everything around them breaks: at each moment at most one copy runs, and none that is older than one that has
run; in the end the record says where it is (S3, S4)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable

import pytest

from covey.base.errors import CoveyError
from covey.model.requests.instance import MigrateInstance
from tests.kit.virtual import run_virtual
from tests.simulation import faults
from tests.simulation.laws import broken_jobs, differences, ended_jobs
from tests.simulation.requests import first_instance
from tests.simulation.schedule import settle
from tests.simulation.world import World

BATCHES, SEEDS_A_BATCH, MOVES = 4, 15, 6
FAULTS: tuple[faults.Fault, ...] = (
    faults.agent_crash,
    faults.both_crash,
    faults.controller_crash,
    faults.machine_loses_power,
    faults.agent_pauses,
    faults.messages_suffer,
    faults.leader_deposed,
    faults.guest_dies,
    faults.hypervisor_hangs_up,
)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_guest_that_moves_runs_once_whatever_breaks(batch: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(batch * SEEDS_A_BATCH, (batch + 1) * SEEDS_A_BATCH):
        world = run_virtual(moved_about(seed), within_s=20_000)
        assert world.broken == [], f"seed {seed}"
        ends.update(ended.job.state for ended in ended_jobs(world).values() if ended.job.request.kind == "instance.migrate")
    assert ends["succeeded"] and ends["cancelled"] and ends["failed"], ends


async def moved_about(seed: int) -> World:
    world = World(seed, nodes=2 + seed % 2, controllers=1 + seed % 2)
    await world.furnish()
    world.start()
    await asyncio.sleep(1.0)
    await world.submit(first_instance(1))
    await settle(world)
    for _ in range(MOVES):
        await _move(world)
        await settle(world)
        world.broken += [*broken_jobs(world), *differences(world)]
    await world.close()
    return world


async def _move(world: World) -> None:
    """One move, and what befalls it: mostly a fault at some moment of it, now and then somebody's change of mind."""
    random = world.random
    world.slowest_s = random.choice((0.3, 1.0, 4.0))
    world.lingers_s = random.choice((0.0, 0.2))
    try:
        job = await world.submit(MigrateInstance(instance="web1"))
    except CoveyError as error:
        world.note(f"refused: {error.what}")
        return
    await asyncio.sleep(random.random() * 12 * world.slowest_s)
    fault = random.choice((*FAULTS, None))
    cancels = fault is None or random.random() < 0.3
    async with asyncio.TaskGroup() as group:
        if fault:
            group.create_task(_harmless(fault(world)))
        if cancels and world.leader and world.leader.engine:
            group.create_task(_harmless(world.leader.engine.cancel(job, "anna")))


async def _harmless(doing: Awaitable[object]) -> None:
    try:
        await doing
    except CoveyError:
        return  # nothing was there to break, or to cancel
