"""Facts of this machine about layers: whether a running guest's QEMU or nobody has them open decides who does the work."""

from __future__ import annotations

from collections.abc import Callable

from covey.base.errors import Refused, check
from covey.host.domains import attachments_of, ensure_defined
from covey.host.host import Host
from covey.model.domain import Domain
from covey.model.pool import Volume

RUNS = ("running", "paused")


async def take_back_overlay(host: Host, volume: Volume, job: str) -> None:
    """Remove a layer that the job made, unless a guest has come to stand on it. Raises Refused then."""
    users = [found.instance for found in await host.hypervisor.domains() if volume.id in found.disks]
    check(not users, Refused("a guest has it as its disk by now", f"volume {volume.id}", "see: covey cluster verify"))
    await host.storage(volume.place).ensure_volume_absent(volume, job)


async def ensure_frozen(host: Host, domain: Domain) -> bool:
    """Returns whether the guest's file systems were at rest."""
    return await host.hypervisor.ensure_overlaid(domain, attachments_of(host, domain))


async def ensure_disks_replaced(host: Host, domain: Domain, job: str) -> None:
    """Raises Refused while the guest runs: its disks are not taken from under it."""
    found = await host.hypervisor.domain(domain.instance)
    check(
        found is None or found.state not in RUNS,
        Refused("it runs, and its disks are not replaced while it does", f"instance {domain.instance}", "stop it first"),
    )
    await ensure_defined(host, domain, job)


async def ensure_merged(
    host: Host,
    domain: Domain,
    disk: int,
    top: Volume,
    base: Volume,
    above: tuple[Volume, ...],
    job: str,
    told: Callable[[int, int], None],
) -> None:
    """A running guest's QEMU merges what it has open; all else is closed files. A disk whose definition names the lower file already is
    merged: what the guest wrote since must not be written over."""
    attachments = attachments_of(host, domain) | {volume.id: host.attachment(volume) for volume in (top, base)}
    storage = host.storage(base.place)
    if not await host.hypervisor.ensure_merged(domain, disk, top, base, attachments, told):
        found = await host.hypervisor.domain(domain.instance)
        if above or found is None or top.id in found.disks:
            await storage.ensure_merged(top, base, told)
    for volume in above:  # a running guest's QEMU has done so for those that it has open
        await storage.ensure_lies_on(volume, base)
    await ensure_defined(host, domain, job)


async def ensure_flat(host: Host, instance: str, disk: int, volume: Volume, told: Callable[[int, int], None]) -> None:
    """A running guest's QEMU copies into the file that it has open; a guest that ends meanwhile leaves the rest to be done."""
    if not await host.hypervisor.ensure_flat(instance, disk, volume, host.attachment(volume), told):
        await host.storage(volume.place).ensure_flat(volume, told)
