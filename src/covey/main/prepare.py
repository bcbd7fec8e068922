"""`covey node prepare`: work on this very machine, which need not run a Covey yet. And the guards of a takeover, which outlive it."""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from covey.base import log
from covey.base.errors import Refused, StepFailed, check
from covey.host.hypervisor.private import QEMU_USER
from covey.host.network.uplink.settle import settle
from covey.host.network.uplink.takeover import Intent, Takeovers
from covey.host.preflight.examine import examine
from covey.main.layout import Layout, choose
from covey.model.preflight import Finding
from covey.model.uplink import Takeover

GUARDS = 2  # of one takeover: either may be killed
READY_WITHIN_S = 20.0


def state_directory(settings: str, named: str | None) -> str:
    """Where `covey up` would keep everything, by what is named, else by the settings file."""
    return str(choose(settings, state=named).state)


def look(state: str, accelerator: str) -> tuple[Finding, ...]:
    """What is found of this machine; nothing is changed. Raises Refused for anybody but root."""
    _check_root()
    return asyncio.run(examine(Path(state).absolute(), accelerator, QEMU_USER))


def takeovers(state: str) -> Takeovers:
    """Those of this machine. Raises Refused for anybody but root."""
    _check_root()
    return Takeovers(Layout(Path(state).absolute()).takeover)


def _check_root() -> None:
    check(os.geteuid() == 0, Refused("a machine is root's to look into and to change", "covey node prepare", "use sudo"))


def take_over(work: Takeovers, intent: Intent, window_s: float) -> Takeover:
    """The change itself, under guard. Raises what it raises; then all is as it was."""
    work.directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    return work.begin(intent, window_s, lambda: _start_guards(work.directory))


def confirm(work: Takeovers) -> tuple[Takeover, str]:
    """It stays; and what is left to a person. Raises Refused when there is nothing to confirm (any more)."""
    done = work.confirm()
    return done, asyncio.run(settle(Path("/"), done))


def _start_guards(directory: Path) -> None:
    """Processes of their own, in sessions of their own: neither the end of a terminal nor that of its shell reaches them."""
    for _ in range(GUARDS):
        ready, tell = os.pipe()
        with (directory / "guard.log").open("ab") as written:
            subprocess.Popen(  # noqa: S603  (it outlives us: base.run ends what it starts)
                (sys.executable, "-P", "-m", "covey.main.prepare", "--directory", str(directory), "--tell", str(tell)),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                cwd="/",
                pass_fds=(tell,),
                start_new_session=True,
            )
        os.close(tell)
        try:
            answered, _, _ = select.select([ready], [], [], READY_WITHIN_S)
            check(
                answered and os.read(ready, 1),
                StepFailed("its guard did not start", str(directory), f"see: {directory}/guard.log"),
            )
        finally:
            os.close(ready)


def guard() -> None:
    """The program of a guard."""
    parser = argparse.ArgumentParser(prog="covey.main.prepare")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--tell", type=int, required=True)
    given = parser.parse_args()
    log.configure(json=False)
    told: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    _never_first_to_go()
    Takeovers(given.directory).guard(lambda: _say_ready(given.tell), _pausing(told))


def _pausing(told: list[int]) -> Callable[[float], bool]:
    def pause(seconds: float) -> bool:
        time.sleep(seconds)
        return bool(told)

    return pause


def _say_ready(descriptor: int) -> None:
    os.write(descriptor, b"1")
    os.close(descriptor)


def _never_first_to_go() -> None:
    """A machine without memory ends others before this."""
    try:
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except OSError as error:
        structlog.get_logger().warning("not protected from a lack of memory", error=str(error))


if __name__ == "__main__":
    guard()
