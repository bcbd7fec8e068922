"""Facts of this machine about domains: what of them belongs together."""

from __future__ import annotations

from covey.host.host import Host
from covey.host.storage.protocol import Attachment
from covey.host.threads import in_thread
from covey.model.domain import Domain
from covey.model.filter import Rule
from covey.model.shape import pending, shape_of


async def ensure_defined(host: Host, domain: Domain, job: str) -> None:
    """Define a domain."""
    await host.hypervisor.ensure_defined(domain, attachments_of(host, domain), job)


async def ensure_redefined(host: Host, domain: Domain, job: str) -> tuple[str, ...]:
    """Change a definition, and of the running guest what can be changed: the names of what waits for its next start."""
    live = await host.hypervisor.ensure_redefined(domain, attachments_of(host, domain), job)
    return tuple(one.field for one in pending(shape_of(domain), live)) if live else ()


def attachments_of(host: Host, domain: Domain) -> dict[str, Attachment]:
    """How its volumes and its ISO are opened is this machine's affair."""
    attachments = {disk.volume.id: host.attachment(disk.volume) for disk in domain.disks}
    if domain.iso:
        attachments[domain.iso] = Attachment("file", str(host.images.path(domain.iso)), "raw")
    return attachments


async def ensure_running(host: Host, instance: str, generation: int) -> tuple[int, int]:
    """The domain runs: its pid, and the generation of its run, which is an older one when it ran already."""
    await check_may_start(host, instance, generation)
    pid = await host.hypervisor.ensure_running(instance, generation)
    found = await host.hypervisor.domain(instance)
    return pid, found.generation if found else generation


async def ensure_generation(host: Host, instance: str, generation: int) -> int:
    """The domain's run began as that start, or later: its pid."""
    await check_may_start(host, instance, generation)
    return await host.hypervisor.ensure_generation(instance, generation)


async def check_may_start(host: Host, instance: str, generation: int) -> None:
    """S3: raises Refused for a start that this machine is not to begin (any more); one that runs only goes on."""
    found = await host.hypervisor.domain(instance)
    if not found or found.state not in ("running", "paused"):
        host.rights.check_above_floor(instance, generation)


async def ensure_stopped(host: Host, instance: str, generation: int) -> bool:
    """The domain does not run, and the start `generation` is over for ever (S3; 0: none was named). Returns whether it was cut."""
    cut = await host.hypervisor.ensure_stopped(instance)
    if generation:
        await in_thread(host.rights.raise_floor, instance, generation + 1)
    return cut


async def take_back_seed(host: Host, instance: str, job: str) -> None:
    """Remove a seed unless a domain of another job stands on it: then it was there before the job that is taken back."""
    found = await host.hypervisor.domain(instance)
    if found is None or found.job == job:
        await host.guests.ensure_seed_absent(instance)


async def take_back_asking(host: Host, instance: str) -> None:
    """A domain that was asked to stop and still runs goes on: what ends it later is its own doing again."""
    found = await host.hypervisor.domain(instance)
    if found and found.state == "running":
        await host.hypervisor.ensure_running(instance, found.generation)


async def resume(host: Host, instance: str) -> None:
    """One that stands still goes on."""
    found = await host.hypervisor.domain(instance)
    if found and found.state == "paused":
        await host.hypervisor.ensure_running(instance, found.generation)


async def take_back_run(host: Host, instance: str, generation: int) -> None:
    """End the run that began as `generation`, and no other."""
    found = await host.hypervisor.domain(instance)
    if found and found.generation == generation:
        await host.hypervisor.ensure_stopped(instance)


async def ensure_nic_detached(host: Host, instance: str, nic: int, timeout_s: float) -> None:
    """A NIC is filtered for as long as the guest has it."""
    await host.hypervisor.ensure_nic_detached(instance, nic, timeout_s)
    await host.filters.ensure_unfiltered(instance, nic)


async def take_back_firewall(host: Host, firewall: str, before: tuple[Rule, ...] | None, job: str) -> None:
    """The rules that it had before, or none of it when this job made it."""
    if before is None:
        await host.filters.ensure_firewall_absent(firewall, job)
    else:
        await host.filters.ensure_firewall(firewall, before, job)


async def ensure_instance_absent(host: Host, instance: str, keep_variables: bool) -> None:
    await host.hypervisor.ensure_absent(instance, keep_variables=keep_variables)
    await host.filters.ensure_unfiltered(instance)
    await host.guests.ensure_seed_absent(instance)
