"""What befalls a world, and what it hit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from covey.base.errors import CoveyError
from covey.model.step import FORWARD
from tests.kit.builders import a_pool
from tests.simulation.machines import CAPACITY
from tests.simulation.transport import Weather
from tests.simulation.world import USUAL_S, World

Fault = Callable[[World], Awaitable[None]]


async def controller_crash(world: World) -> None:
    """All of them, or only who leads."""
    leader = world.leader
    if leader and world.elects and world.random.random() < 0.7:
        leader.kill()
    else:
        for controller in world.controllers:
            controller.kill()
    await asyncio.sleep(world.random.random() * 3)
    world.start_missing_controllers()


async def controller_stops(world: World) -> None:
    """As an upgrade has it: it resigns, and comes back."""
    leader = world.leader
    if leader is None:
        return
    await leader.stop()
    await asyncio.sleep(world.random.random() * 3)
    world.start_missing_controllers()


async def leader_stands_still(world: World) -> None:
    """For longer or shorter than its right lasts. Afterwards it goes on where it was, and does not know that it slept."""
    leader = world.leader
    if leader is None:
        return
    leader.pause()
    await asyncio.sleep(world.random.choice((1.0, 6.0, 15.0)))
    leader.resume()


async def controller_cut_off(world: World) -> None:
    """Whichever it is: from the store, not from the nodes."""
    controller = world.random.choice(world.living or world.controllers)
    controller.cut_from_store()
    await asyncio.sleep(world.random.random() * 15)
    controller.join_store()


async def agent_crash(world: World) -> None:
    node = world.random.choice(sorted(world.agents))
    world.agents[node].kill()
    await asyncio.sleep(world.random.random() * 5)
    world.start_agent(node)


async def both_crash(world: World) -> None:
    await asyncio.gather(controller_crash(world), agent_crash(world))


async def machine_loses_power(world: World) -> None:
    """Agent and guests die; bridges are gone with the kernel that had them, disks stay."""
    node = world.random.choice(sorted(world.agents))
    process, machine = world.agents[node], world.machines[node]
    process.kill()
    machine.boots += 1
    process.hypervisor.power_loss()
    await asyncio.sleep(1 + world.random.random() * 5)
    world.start_agent(node)


async def leader_deposed(world: World) -> None:
    """The leader loses the store and goes on giving orders, while another one is elected. Agents are restarted meanwhile, so that they
    have no memory but the epoch on their disk."""
    leader = world.leader
    if leader is None:
        return
    leader.cut_from_store()
    await asyncio.sleep(world.random.random() * (8 if world.elects else 2))
    if not world.elects:
        world.start_controller()
    for node in sorted(world.agents):
        await asyncio.sleep(world.random.random() * 3)
        world.agents[node].kill()
        world.start_agent(node)
    await asyncio.sleep(world.random.random() * 5)
    leader.join_store()


async def agent_pauses(world: World) -> None:
    process = world.agents[world.random.choice(sorted(world.agents))]
    process.paused.clear()
    await asyncio.sleep(world.random.choice((2.0, 10.0, 75.0)))
    process.paused.set()


async def messages_suffer(world: World) -> None:
    world.wire.weather = Weather(loss=world.random.choice((0.05, 0.3)), double=0.3, longest_s=world.random.choice((0.1, 3.0)))
    await asyncio.sleep(5 + world.random.random() * 10)
    world.wire.weather = Weather()


async def store_errs(world: World) -> None:
    world.store_errors = world.random.choice((0.05, 0.3))
    await asyncio.sleep(2 + world.random.random() * 8)
    world.store_errors = 0.0


async def pool_fills(world: World) -> None:
    machine = world.machines[world.random.choice(sorted(world.machines))]
    machine.capacity[a_pool().place.path] = 2**30
    await asyncio.sleep(5 + world.random.random() * 20)
    machine.capacity[a_pool().place.path] = CAPACITY


async def steps_are_slow(world: World) -> None:
    world.slowest_s = world.random.choice((3.0, 20.0))
    await asyncio.sleep(5 + world.random.random() * 15)
    world.slowest_s = USUAL_S


async def hypervisor_hangs_up(world: World) -> None:
    """libvirt does not answer, for longer or shorter than the retries of a step last."""
    process = world.agents[world.random.choice(sorted(world.agents))]
    process.hypervisor.answers = False
    await asyncio.sleep(world.random.choice((3.0, 20.0, 60.0)))
    process.hypervisor.answers = True


async def guest_dies(world: World) -> None:
    process = world.agents[world.random.choice(sorted(world.agents))]
    running = [guest.instance for guest in await process.hypervisor.domains() if guest.state == "running"]
    if running:
        end = world.random.choice((process.hypervisor.crash, process.hypervisor.guest_shutdown))
        end(world.random.choice(running))


FAULTS: tuple[Fault, ...] = (
    controller_crash,
    controller_stops,
    controller_cut_off,
    leader_stands_still,
    agent_crash,
    both_crash,
    machine_loses_power,
    leader_deposed,
    agent_pauses,
    messages_suffer,
    store_errs,
    pool_fills,
    steps_are_slow,
    hypervisor_hangs_up,
    guest_dies,
)


async def inflict(world: World, fault: Fault) -> None:
    """Let a fault happen in the midst of something, and count what it hit."""
    name = fault.__name__
    await _until_at_work(world, world.random.choice(("", "", "running", "undoing", "waiting")))
    leader = world.leader
    if leader and leader.feed:
        for job in leader.feed.view.jobs:
            world.coverage[(name, job.request.kind, _phase(leader.feed.view.plan(job.id), job.state, job.step))] += 1
    world.note(f"FAULT {name}")
    try:
        await fault(world)
    except CoveyError as error:
        world.note(f"{name} had nothing to hit: {error.what}")
    world.note(f"over: {name}")


async def _until_at_work(world: World, state: str) -> None:
    """Wait, for a while, until some job is in that state ("": in any)."""
    for _ in range(40):
        leader = world.leader
        if leader and leader.feed and any(state in ("", job.state) for job in leader.feed.view.jobs):
            break
        await asyncio.sleep(0.5)
    await asyncio.sleep(world.random.random() * 0.5)


def _phase(record: object, state: str, step: int) -> str:
    plan = getattr(record, "plan", None)
    if state != "running" or plan is None or step >= len(plan.steps):
        return state
    return "forward" if plan.steps[step].role == FORWARD else "undoable"
