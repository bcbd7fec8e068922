"""All that is looked at, together: slow things side by side."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

from covey.host.machine import RESOLVER_FILES, HostMachine
from covey.host.network.ears import cards, hear
from covey.host.network.kernel import TAP, find_missing_kinds
from covey.host.preflight import clock, hypervisor, network, processor, storage
from covey.model.preflight import Card, Finding, Heard

KINDS = ("bridge", TAP, "vlan")
DNS_WITHIN_S = 2.0
_QUESTION = struct.pack("!HHHHHH", 0xC07E, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 2, 1)  # "." NS, RFC 1035


async def examine(state: Path, accelerator: str, user: str, root: Path = Path("/")) -> tuple[Finding, ...]:
    """Everything that is found of this machine. Takes some seconds: it listens to its links, and runs a guest."""
    machine = HostMachine(root / "proc", root / "sys")
    proven, (found, heard), disks, groups, programs, servers = await asyncio.gather(
        processor.look_at_virtualisation(accelerator, user),
        asyncio.to_thread(_listen),
        storage.look_at_disks(),
        storage.look_at_volume_groups(),
        hypervisor.look_at_programs(),
        asyncio.to_thread(_ask_name_servers),
    )
    return (
        processor.look_at_processors(machine, root / "proc", root / "sys"),
        processor.look_at_memory(machine),
        proven,
        *programs,
        hypervisor.look_at_libvirt(root),
        *hypervisor.look_at_foreign_guests(root),
        *network.judge_kinds(await asyncio.to_thread(_missing_kinds)),
        *network.judge_network(found, heard),
        network.judge_names(*servers),
        storage.look_at_place(state, (root / "proc/self/mounts").read_text()),
        *disks,
        *groups,
        clock.judge_clock(clock.read_discipline(), clock.find_daemon(root / "proc")),
    )


def _listen() -> tuple[tuple[Card, ...], dict[str, Heard]]:
    found = cards()
    return found, hear(found)


def _missing_kinds() -> tuple[str, ...]:
    return find_missing_kinds(KINDS)


def _ask_name_servers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The name servers of this machine, and those that answer."""
    servers = _name_servers()
    return servers, tuple(server for server in servers if _answers(server))


def _name_servers() -> tuple[str, ...]:
    for path in reversed(RESOLVER_FILES):
        if path.exists():
            lines = (line.split() for line in path.read_text(errors="replace").splitlines())
            return tuple(words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1)
    return ()


def _answers(server: str) -> bool:
    """Whether it answers at all: who serves the root, it should know."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(server, 53, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as client:
            client.settimeout(DNS_WITHIN_S)
            client.connect(address)
            client.send(_QUESTION)
            return client.recv(4096)[:2] == _QUESTION[:2]
    except OSError:
        return False
