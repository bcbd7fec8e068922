"""The processes of a lab's nodes, as the machine sees them by /proc: found, stopped, let go on, killed. There is no list on the side."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import StepFailed
from covey.lab.layout import LabNode

INIT = "covey.lab.init"
LIMIT_S = 30.0
_LOOK_EVERY_S = 0.02
_ENDED, _STOPPED = "ZX", "Tt"  # proc_pid_stat(5)


@dataclass(frozen=True, slots=True)
class Process:
    """`pid` is the machine's number of it, not the node's. `namespace` is its pid namespace, by which it is known again."""

    pid: int
    namespace: str
    name: str

    @property
    def state(self) -> str:
        """The kernel's letter; "X" once it is gone."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "X"

    @property
    def is_stopped(self) -> bool:
        return self.state in _STOPPED


def find_init(node: LabNode) -> Process | None:
    """The node's first process; None while its power is off."""
    for pid, words in command_lines():
        if place_of(words) == node.directory and _number_within(pid) == 1:
            return _process(pid, words)
    return None


def processes(init: Process) -> list[Process]:
    """All of a node, its init first. What has ended and is only not collected yet is none."""
    found = [_process(pid, words) for pid, words in command_lines()]
    own = [process for process in found if process and process.namespace == init.namespace and process.state not in _ENDED]
    return sorted(own, key=lambda process: (process.pid != init.pid, process.pid))


def starters(directory: Path) -> list[int]:
    """Whoever is the init of a node at or below this directory, or is about to start it."""
    found = ((pid, place_of(words)) for pid, words in command_lines())
    return [pid for pid, place in found if place and (place == directory or directory in place.parents)]


def place_of(words: Sequence[str]) -> Path | None:
    """The directory of the node whose init it is, or is to become by these words: `... -m covey.lab.init DIRECTORY ...`."""
    at = words.index(INIT) if INIT in words else 0
    return Path(words[at + 1]) if at and words[at - 1] == "-m" and len(words) > at + 1 else None


def name_of(words: Sequence[str]) -> str:
    """What a process is called in a lab."""
    if INIT in words:
        return "init"
    if "covey.main" in words:
        return words[words.index("covey.main") + 1]
    if "covey.cli" in words and "up" in words:
        return "up"
    if "covey.host.hypervisor.private_init" in words:
        return "keeper"
    program = Path(words[0]).name
    return "guest" if program.startswith("qemu-system-") else program


async def pause(init: Process) -> None:
    """Every process of the node is stopped, whatever it starts meanwhile. Raises StepFailed."""
    await _until_none(
        lambda: [process for process in processes(init) if not process.is_stopped], signal.SIGSTOP, "is not stopped"
    )


async def resume(init: Process) -> None:
    """Every process of the node goes on. Raises StepFailed."""
    await _until_none(lambda: [process for process in processes(init) if process.is_stopped], signal.SIGCONT, "does not go on")


async def end(pids: Iterable[int]) -> None:
    """All of them are killed and gone. Raises StepFailed."""
    handles = [handle for pid in pids if (handle := _handle(pid)) is not None]
    try:
        for handle in handles:
            _send(handle, signal.SIGKILL)
        for handle in handles:
            await _ended(handle)
    finally:
        for handle in handles:
            os.close(handle)


def send(process: Process, number: signal.Signals) -> bool:
    """Whether the signal reached it: its number is not another's by now."""
    handle = _handle(process.pid)
    if handle is None:
        return False
    try:
        return _namespace(process.pid) == process.namespace and _send(handle, number)
    finally:
        os.close(handle)


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Every process that has a command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if text:
                yield int(entry.name), text.rstrip(b"\0").decode(errors="replace").split("\0")


def _process(pid: int, words: Sequence[str]) -> Process | None:
    namespace = _namespace(pid)
    return Process(pid, namespace, name_of(words)) if namespace else None


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _number_within(pid: int) -> int:
    """Its number in its own pid namespace; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return int(numbers[-1]) if len(numbers) > 1 else 0


async def _until_none(left: Callable[[], list[Process]], number: signal.Signals, complaint: str) -> None:
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while remaining := left():
        if asyncio.get_running_loop().time() > deadline:
            raise StepFailed(f"{remaining[0].name} {complaint} within {LIMIT_S:g} s", f"process {remaining[0].pid}")
        for process in remaining:
            send(process, number)
        await asyncio.sleep(_LOOK_EVERY_S)


def _handle(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _send(handle: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    return True


async def _ended(handle: int) -> None:
    """A pidfd is readable once its process has ended, pidfd_open(2)."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        async with asyncio.timeout(LIMIT_S):
            await readable.wait()
    except TimeoutError:
        raise StepFailed(f"a process does not end within {LIMIT_S:g} s of being killed", "lab", "look at it with ps") from None
    finally:
        loop.remove_reader(handle)
