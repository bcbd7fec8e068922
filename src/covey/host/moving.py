"""Facts of two machines while a guest moves between them: where it runs, and who may know it to."""

from __future__ import annotations

from dataclasses import asdict

import structlog

from covey.host import domains
from covey.host.host import Host
from covey.host.migration.protocol import Destination, Moved, Offer, Told, Wish
from covey.host.threads import in_thread
from covey.model.domain import Domain

log = structlog.get_logger()


async def ensure_migrated(host: Host, to: Destination, domain: Domain, generation: int, wish: Wish, told: Told) -> Moved:
    """The guest runs there and not here. Whoever died half-way may have left it in any state: see has_moved. Raises Refused when it does
    not run, StepFailed when it was not moved."""
    instance = domain.instance
    if await has_moved(host, to, instance, generation):
        return Moved(0, 0.0, 0.0)
    description, processor = await host.hypervisor.describe(instance)
    async with host.neighbours.passage(to, Offer(domain, generation, description, processor)) as passage:
        moved = await host.hypervisor.migrate(instance, passage, wish, told)
    await in_thread(host.rights.raise_floor, instance, generation)
    log.info("a guest has moved", instance=instance, to=to.name, **asdict(moved))
    return moved


async def has_moved(host: Host, to: Destination, instance: str, generation: int) -> bool:
    """Whether the guest is there: then it is not begun here again. One that still runs here is not. One that stands still is let go on only
    once the other machine has said that it never ran there; and of one that has ended here only that machine knows (S4). Raises
    Unavailable while nobody knows."""
    found = await host.hypervisor.domain(instance)
    if found and found.state == "running" and found.generation < generation:
        return False
    if await host.neighbours.has_arrived_at(to, instance, generation):
        await host.hypervisor.ensure_stopped(instance)
        await in_thread(host.rights.raise_floor, instance, generation)
        return True
    await domains.resume(host, instance)
    return False


async def ensure_expected(host: Host, instance: str, source: str, generation: int) -> None:
    await in_thread(host.rights.expect, instance, source, generation)


async def ensure_not_expected(host: Host, instance: str) -> None:
    """Nobody brings it any more, so what is half-way comes to its end."""
    await in_thread(host.rights.expect_nobody, instance)
    await host.hypervisor.ensure_settled(instance)


async def has_arrived(host: Host, instance: str, generation: int) -> bool:
    """Whether it has begun to run here as that start, whatever became of it since; if not, nothing of it is half-way."""
    await host.hypervisor.ensure_settled(instance)
    found = await host.hypervisor.domain(instance)
    return bool(found and found.generation >= generation)
