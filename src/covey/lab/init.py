"""The first process of a lab's node: `python -m covey.lab.init DIRECTORY NAME COMMAND ...`, started in namespaces of its own.

It makes the machine look like one: its name, its own /proc, /sys and /run, a boot id that is new at each power on (by it
Covey knows that the machine has restarted). Then it does what an init does: it keeps the command running, and collects whatever ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import uuid
from pathlib import Path

from covey.base.run import run

AGAIN_AFTER_S = 1.0
ENDED = "it ended with status"  # whoever waits for the node to answer looks for this in its log
# Files of the node's directory that lie over the machine's own.
COVERED = (
    ("hosts", Path("/etc/hosts")),
    ("hostname", Path("/etc/hostname")),
    ("machine-id", Path("/etc/machine-id")),
    ("boot-id", Path("/proc/sys/kernel/random/boot_id")),
)


async def become_machine(directory: Path, name: str) -> None:
    """Raises StepFailed."""
    await _mount("-t", "proc", "proc", "/proc")
    await _mount("-t", "sysfs", "sysfs", "/sys")  # the links of this network namespace; and without cgroups
    await _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir(mode=0o1777)
    (directory / "boot-id").write_text(f"{uuid.uuid4()}\n")
    for file, target in COVERED:
        if target.exists():
            await _mount("--bind", str(directory / file), str(target))
    socket.sethostname(name)


async def _mount(*arguments: str) -> None:
    await run(("mount", "-n", *arguments), timeout_s=20, object=f"directory {arguments[-1]}")


def keep(command: list[str]) -> None:
    """Keep the command running, as a service manager does, and collect what ends. Never returns: the machine's power is cut."""
    while True:
        running = os.posix_spawn(command[0], command, dict(os.environ), setsid=True)
        ended = 0
        while ended != running:
            ended, status = os.wait()
        said = f"init: {ENDED} {os.waitstatus_to_exitcode(status)}, and is started again: {' '.join(command)}"
        print(said, file=sys.stderr, flush=True)  # noqa: T201  (its log is all it has)
        time.sleep(AGAIN_AFTER_S)


def main(directory: Path, name: str, command: list[str]) -> None:
    if os.getpid() != 1:
        raise SystemExit("this is not the first process of a machine: to be started by covey.lab.node only")
    asyncio.run(become_machine(directory, name))
    keep(command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
