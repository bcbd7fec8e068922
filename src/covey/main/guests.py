"""When the machine goes down, its guests are asked to shut down first: else they would end as by a power cut."""

from __future__ import annotations

import asyncio

from covey.base import log
from covey.base.errors import CoveyError
from covey.base.run import run
from covey.host.hypervisor.libvirt import LibvirtHypervisor
from covey.host.hypervisor.private import await_private_libvirtd, private_files
from covey.host.hypervisor.protocol import Hypervisor
from covey.main.layout import Choices

PATIENCE_S = 90.0  # covey-guests.service allows more: TimeoutStopSec
logger = log.logger(__name__)


async def rest_guests(choices: Choices) -> None:
    """Ask every running guest to shut down, if it is this machine that goes, and not only a service."""
    if not await _is_going_down():
        return
    uri = await await_private_libvirtd(choices.state)
    hypervisor = LibvirtHypervisor(uri, choices.layout.guests, files=private_files(choices.state))
    try:
        await ask_all(hypervisor, PATIENCE_S)
    finally:
        await hypervisor.close()


async def ask_all(hypervisor: Hypervisor, patience_s: float) -> None:
    """Every running guest was asked to shut down and given so many seconds. That it was asked is kept: it is no wish of the guest's, so
    it comes back with the machine. What does not listen runs on."""
    running = [domain.instance for domain in await hypervisor.domains() if domain.state == "running"]
    logger.info("guests are asked to shut down", guests=len(running))
    asked = (hypervisor.ensure_asked_to_stop(instance, patience_s) for instance in running)
    for instance, outcome in zip(running, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, CoveyError):
            raise outcome
        if outcome is not True:
            logger.warning("a guest did not shut down", instance=instance, why=str(outcome or f"it runs after {patience_s:g} s"))


async def _is_going_down() -> bool:
    """Whether systemd is about to end this machine (systemctl(1), is-system-running)."""
    said = await run(["systemctl", "is-system-running"], timeout_s=20, check=False, object="this machine")
    return said.text.strip() == "stopping"
