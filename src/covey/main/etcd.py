"""etcd, kept running for as long as this machine has a seat: by `covey up`, or as a service of its own.

Neither agent nor controller is its parent: both may be started again without touching it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from covey.agent.place import Place
from covey.base.clock import SystemClock
from covey.base.notify import tell_systemd
from covey.main.layout import Choices

LOOK_EVERY_S = 0.1
STOP_WITHIN_S = 3.0  # longer than it takes while most members are there; killed, it loses nothing
PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
LIVED_S = 10.0
KEPT = ("PATH", "LANG", "HOME")  # of our own environment: no ETCD_* of somebody else's


async def run_etcd(choices: Choices) -> None:
    """The program of the service: as long as the machine has no seat, it waits for one."""
    tell_systemd("READY=1")
    await keep_etcd(Place(choices.layout.store.parent).environment)


async def keep_etcd(environment: Path) -> None:
    """While the file `environment` is there, etcd runs as it says: anew when it says something else, or when etcd has died. Until
    cancelled, which ends it."""
    clock = SystemClock()
    pause = PAUSE_S
    while True:
        said = _read(environment)
        if not said:
            await clock.sleep(LOOK_EVERY_S)
            continue
        began = clock.monotonic()
        status = await _run(environment, said)
        if status is None:
            continue
        pause = PAUSE_S if clock.monotonic() - began > LIVED_S else min(pause * 2, LONGEST_PAUSE_S)
        print(f"covey: etcd ended with status {status}; starting it again while it is to run", file=sys.stderr, flush=True)
        await clock.sleep(pause)


async def _run(environment: Path, said: bytes) -> int | None:
    """Run etcd until it ends, whose status is returned; or until it is to run otherwise or not at all: None."""
    given = dict(line.split("=", 1) for line in said.decode().splitlines())
    own = {key: os.environ[key] for key in KEPT if key in os.environ}
    etcd = shutil.which("etcd") or "/usr/bin/etcd"
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", etcd),  # an orphan would keep ports and files from the next one
        env={**own, **given},
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not meant for it: controllers take leave of it first
    )
    ended = asyncio.ensure_future(process.wait())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=LOOK_EVERY_S)
            if not ended.done() and _read(environment) != said:
                return None
        return ended.result()
    finally:
        await _end(process, ended)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> None:
    if ended.done():
        return
    process.terminate()
    await asyncio.wait({ended}, timeout=STOP_WITHIN_S)
    if not ended.done():
        process.kill()
        await ended


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
