"""The way to a guest's own agent, through libvirt, which holds its channel. Blocking: called on threads of their own, as a guest may hang."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import libvirt
import libvirt_qemu

from covey.base.errors import CoveyError, Refused, check
from covey.host.hypervisor.sighting import must_find

GREETING_S = 2  # what the agent gets to answer the greeting that libvirt sends before each command
_BROKEN = (
    "not available due to an error",
    "not available for now",
    "Numerical result out of range",
)  # libvirt reads 10 MiB at most
_SAID = re.compile(r"error was '(.*)'")
_SILENT = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_OPERATION_TIMEOUT)


def ask(connection: Any, instance: str, command: str, arguments: Mapping[str, Any], seconds: int) -> Any:
    """What the agent answers. Raises Refused when it does not answer, or refuses; NotFound when there is no such guest."""
    domain, _ = must_find(connection, instance)
    check(domain.isActive(), Refused("it does not run", f"instance {instance}", "start it first"))
    text = json.dumps({"execute": command, "arguments": dict(arguments)} if arguments else {"execute": command})
    try:
        domain.agentSetResponseTimeout(GREETING_S)
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, seconds, 0)).get("return")
    except libvirt.libvirtError as error:
        raise _refusal(error, instance) from error
    except ValueError as error:
        raise no_agent(instance, "it talks nonsense") from error


def no_agent(instance: str, why: str) -> CoveyError:
    return Refused(
        f"its guest agent does not answer: {why}",
        f"instance {instance}",
        "in the guest: install qemu-guest-agent and start it (Debian: apt install qemu-guest-agent); it may still be booting",
    )


def _refusal(error: Any, instance: str) -> CoveyError:
    words = str(error.get_error_message() or error)
    if any(sign in words for sign in _BROKEN):
        return Refused(
            "its guest agent cannot be heard any more, as after an answer of more than 10 MiB",
            f"instance {instance}",
            "restart qemu-guest-agent in the guest, or the guest; let what prints much write into a file there",
        )
    if error.get_error_code() in _SILENT:
        return no_agent(instance, words)
    if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
        return Refused("it does not run", f"instance {instance}", "start it first")
    if error.get_error_code() == libvirt.VIR_ERR_RPC:
        return Refused(
            "what it answered is too large to be brought here", f"instance {instance}", "let it write into a file in the guest"
        )
    said = _SAID.search(words)
    return Refused(f"its guest agent says: {said[1] if said else words}", f"instance {instance}")
