"""The private libvirtd as a service of its own: neither an end of the agent nor its sandbox reaches guests."""

from __future__ import annotations

import os

from covey.host.hypervisor.private import command_of_private_libvirtd
from covey.main.layout import Choices


async def become_libvirtd(choices: Choices) -> None:
    """Replace this process by it: systemd is to see libvirtd itself, which tells it when it is ready."""
    command = await command_of_private_libvirtd(choices.state, choices.netns)
    os.execvp(command[0], command)  # noqa: S606  (no shell, and this process is to be it)
