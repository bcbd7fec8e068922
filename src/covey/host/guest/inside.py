"""What is done within a guest, by its own agent (QEMU: docs/interop/qemu-ga-ref).

The guest may be hostile, or hang: each question has a limit in time, and each answer is checked before anything is made of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

from covey.base.errors import Refused, StepFailed
from covey.host.hypervisor.protocol import Hypervisor
from covey.model.guest import LARGEST_OUTPUT, GuestFacts, GuestFileSystem, GuestInterface, GuestRun

ASK_LIMIT_S = 5.0
FIRST_LOOK_S, LAST_LOOK_S = 0.05, 1.0  # between two questions whether a command has ended
MOST_SHOWN = 100  # interfaces, file systems, addresses: what a guest says is bounded
LONGEST_TEXT = 200


async def facts(hypervisor: Hypervisor, instance: str) -> GuestFacts:
    """How the guest sees itself. Raises Refused when its agent does not answer; what an old agent does not know is left out."""
    interfaces = await _ask(hypervisor, instance, "guest-network-get-interfaces")
    system = await _ask_perhaps(hypervisor, instance, "guest-get-osinfo")
    return GuestFacts(
        _text(await _ask_perhaps(hypervisor, instance, "guest-get-host-name"), "host-name"),
        _text(system, "pretty-name") or _text(system, "name"),
        _text(system, "kernel-release"),
        tuple(_interface(each) for each in _mappings(interfaces) if _text(each, "name") != "lo"),
        tuple(_file_system(each) for each in _mappings(await _ask_perhaps(hypervisor, instance, "guest-get-fsinfo"))),
    )


async def run(hypervisor: Hypervisor, instance: str, argv: tuple[str, ...], timeout_s: float) -> GuestRun:
    """Run a program in the guest to its end: words as they are, no shell. Raises Refused when the agent does not answer or cannot start
    it, StepFailed when it has not ended in time (it is killed then, as far as the guest can)."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    wanted = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    pid = int((await _ask(hypervisor, instance, "guest-exec", wanted))["pid"])
    pause = FIRST_LOOK_S
    while True:
        told = await _ask(hypervisor, instance, "guest-exec-status", {"pid": pid})
        if told.get("exited"):
            return _ended(told)
        if clock() >= deadline:
            await _kill(hypervisor, instance, pid)
            raise StepFailed(
                f"{argv[0]} has not ended within {timeout_s:g} s, and was killed",
                f"instance {instance}",
                "give it longer: --timeout 10m",
            )
        await asyncio.sleep(min(pause, max(deadline - clock(), 0.0)))
        pause = min(pause * 1.5, LAST_LOOK_S)


async def set_password(hypervisor: Hypervisor, instance: str, user: str, password: str) -> None:
    """The user's password in the guest is this one. Raises Refused."""
    arguments = {"username": user, "password": base64.b64encode(password.encode()).decode(), "crypted": False}
    await _ask(hypervisor, instance, "guest-set-user-password", arguments)


async def set_keys(hypervisor: Hypervisor, instance: str, user: str, keys: tuple[str, ...], reset: bool) -> None:
    """The user may log in with these SSH keys; with `reset`, with no others. Raises Refused."""
    arguments = {"username": user, "keys": list(keys), "reset": reset}
    await _ask(hypervisor, instance, "guest-ssh-add-authorized-keys", arguments)


async def _ask(hypervisor: Hypervisor, instance: str, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
    return await hypervisor.ask_guest(instance, command, arguments or {}, ASK_LIMIT_S)


async def _ask_perhaps(hypervisor: Hypervisor, instance: str, command: str) -> Any:
    """The answer, or {} when the guest has none to this."""
    try:
        return await _ask(hypervisor, instance, command)
    except Refused:
        return {}


async def _kill(hypervisor: Hypervisor, instance: str, pid: int) -> None:
    try:
        await _ask(hypervisor, instance, "guest-exec", {"path": "kill", "arg": ["-KILL", str(pid)]})
    except Refused:
        pass  # the guest has no such program, or does not answer any more: what is said of the command stays true


def _ended(told: Mapping[str, Any]) -> GuestRun:
    (out, out_cut), (err, err_cut) = _output(told, "out"), _output(told, "err")
    return GuestRun(_number(told, "exitcode"), _number(told, "signal"), out, err, out_cut or err_cut)


def _output(told: Mapping[str, Any], stream: str) -> tuple[str, bool]:
    """A stream in base64, and whether something of it was left out."""
    try:
        data = base64.b64decode(str(told.get(f"{stream}-data", "")), validate=True)
    except (binascii.Error, ValueError):
        return "", True
    kept = base64.b64encode(data[:LARGEST_OUTPUT]).decode()
    return kept, len(data) > LARGEST_OUTPUT or bool(told.get(f"{stream}-truncated"))


def _interface(told: Mapping[str, Any]) -> GuestInterface:
    addresses = _mappings(told.get("ip-addresses"))
    texts = tuple(f"{_text(each, 'ip-address')}/{_number(each, 'prefix')}" for each in addresses)
    return GuestInterface(_text(told, "name"), _text(told, "hardware-address"), texts)


def _file_system(told: Mapping[str, Any]) -> GuestFileSystem:
    return GuestFileSystem(
        _text(told, "mountpoint"), _text(told, "type"), _number(told, "total-bytes"), _number(told, "used-bytes")
    )


def _mappings(told: Any) -> list[Mapping[str, Any]]:
    shown = told[:MOST_SHOWN] if isinstance(told, list) else []
    return [each for each in shown if isinstance(each, dict)]


def _text(told: Any, key: str) -> str:
    value = told.get(key, "") if isinstance(told, dict) else ""
    return "".join(character for character in str(value)[:LONGEST_TEXT] if character.isprintable())


def _number(told: Mapping[str, Any], key: str) -> int:
    value = told.get(key, 0)
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0
