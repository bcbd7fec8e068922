"""One schedule: a world, twenty requests, five faults, and the judgement at the end (T4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field

from covey.agent.observe import TELEMETRY_EVERY_S
from covey.base.errors import CoveyError
from covey.controller.healer import to_restart
from covey.model.request import Request
from tests.kit.virtual import run_virtual
from tests.simulation.faults import FAULTS, inflict
from tests.simulation.laws import broken_jobs, differences, ended_jobs
from tests.simulation.requests import draw_request, first_instance
from tests.simulation.transport import Weather
from tests.simulation.world import USUAL_S, World

DURATION_S = 120.0
REQUESTS = 20
INSTANCES = 6  # of which are asked for at the beginning
FAULTS_A_RUN = 5
SETTLE_S = 2000.0  # what a world gets to come to rest
QUIET_S = 3.0  # for how long nothing must be to do before a world counts as at rest


@dataclass(slots=True)
class Verdict:
    """How a schedule ended. `broken` names what does not hold."""

    seed: int
    trace_hash: str
    broken: list[str]
    states: dict[str, int]
    coverage: dict[tuple[str, str, str], int]
    cpu_s: float
    trace: list[str] = field(default_factory=list)


def run_schedule(seed: int, keeps_trace: bool = False) -> Verdict:
    began = time.process_time()
    world = run_virtual(_run(seed, keeps_trace), within_s=20_000)
    states: dict[str, int] = {}
    for ended in ended_jobs(world).values():
        states[ended.job.state] = states.get(ended.job.state, 0) + 1
    return Verdict(seed, world.trace_hash, world.broken, states, dict(world.coverage), time.process_time() - began, world.trace)


async def _run(seed: int, keeps_trace: bool) -> World:
    world = World(seed, nodes=1 + seed % 3, controllers=1 + seed // 3 % 3)
    world.keeps_trace = keeps_trace
    await world.furnish()
    world.start()
    await asyncio.sleep(1.0)
    random = world.random
    works = [(random.random() * 15, _ask(world, first_instance(number))) for number in range(INSTANCES)]
    works += [(random.random() * DURATION_S * 0.8, _ask(world, draw_request(random))) for _ in range(REQUESTS - INSTANCES)]
    works += [(random.random() * DURATION_S * 0.8, inflict(world, random.choice(FAULTS))) for _ in range(FAULTS_A_RUN)]
    async with asyncio.TaskGroup() as group:
        for after_s, work in works:
            group.create_task(_later(after_s, work))
    await asyncio.sleep(max(0.0, DURATION_S - world.clock.monotonic()))
    await settle(world)
    await mend(world)
    world.broken += [*broken_jobs(world), *differences(world)]
    for law in world.broken:
        world.note(f"BROKEN {law}")
    await world.close()
    return world


async def _later(after_s: float, work: Awaitable[None]) -> None:
    await asyncio.sleep(after_s)
    await work


async def _ask(world: World, request: Request) -> None:
    """One request, now and then made to follow an earlier job, and now and then taken back."""
    random = world.random
    earlier = sorted(world.acknowledged)[-2:] if random.random() < 0.1 else []
    try:
        job = await world.submit(request, priority=random.randrange(2), after=tuple(earlier))
        if random.random() < 0.15:
            await asyncio.sleep(random.random() * 4)
            if world.leader and world.leader.engine:
                await world.leader.engine.cancel(job, "anna")
                world.note(f"job {job} is cancelled")
    except CoveyError as error:
        world.note(f"refused: {error.what}")


async def settle(world: World) -> None:
    """All faults cease; then wait until nothing is left to do. A world that does not come to rest breaks the law."""
    world.wire.weather = Weather()
    world.store_errors = 0.0
    world.slowest_s = USUAL_S
    for node, process in list(world.agents.items()):
        process.paused.set()
        process.hypervisor.answers = True
        world.start_agent(node)
    for controller in world.controllers:
        controller.join_store()
        controller.resume()
    world.start_missing_controllers()
    deadline = world.clock.monotonic() + SETTLE_S
    quiet_since = world.clock.monotonic()
    while world.clock.monotonic() < deadline:
        await asyncio.sleep(0.5)
        if not _is_at_rest(world):
            quiet_since = world.clock.monotonic()
        elif world.clock.monotonic() - quiet_since >= QUIET_S:
            return
    world.violate(f"the world did not come to rest within {SETTLE_S:g} s")


def _is_at_rest(world: World) -> bool:
    leader = world.leader
    if leader is None or leader.feed is None or leader.feed.view.revision < world.data.seen_revision:
        return False
    view = leader.feed.view
    in_flight = any(process.agent.tasks.in_flight for process in world.agents.values())
    return not (
        in_flight
        or view.collections["job"]
        or view.collections["debris"]
        or view.collections["stale"]
        or to_restart(view, sorted(view.collections["observed"]))
    )


async def mend(world: World) -> None:
    """Give the commands that jobs in need of repair named, which are the same requests again: they must work. Not before the nodes have
    told that the cause is gone: a pool that was full is so for the planner until then."""
    if any(ended.job.state == "needs_repair" for ended in ended_jobs(world).values()):
        await asyncio.sleep(2 * TELEMETRY_EVERY_S)
    for id, ended in sorted(ended_jobs(world).items()):
        if ended.job.state != "needs_repair":
            continue
        world.note(f"repairing after job {id}")
        try:
            again = await world.submit(ended.job.request)
        except CoveyError as error:
            world.violate(f"the repair of job {id} was refused: {error}")
            continue
        await settle(world)
        state = ended_jobs(world)[again].job
        if state.state != "succeeded" and (state.error or {}).get("kind") != "NotFound":
            world.violate(f"the repair of job {id} ({ended.job.request.title}) {state.state}: {state.error}")
