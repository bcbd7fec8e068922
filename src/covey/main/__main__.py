"""`python -m covey.main agent|controller`, as `covey up` starts them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

# structlog takes rich in for its tracebacks wherever that happens to be installed: 9 MB in each daemon, for nothing.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

from covey.base import log
from covey.base.errors import CoveyError
from covey.main.layout import CANNOT, Choices

PR_SET_PDEATHSIG = 1  # prctl(2)
MOST_FILES = 65_536


def main() -> None:
    """`python -m covey.main agent|controller`, as `covey up` starts them."""
    parser = argparse.ArgumentParser(prog="covey.main")
    parser.add_argument("program", choices=("agent", "controller"))
    for option in ("state", "hosts", "netns", "listen"):
        parser.add_argument(f"--{option}", default="")
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    _end_with(given.parent)
    _allow_files()
    log.configure(json=False)
    gc.set_threshold(50_000, 20, 50)  # records are many, immutable and without cycles: looking through them often is time lost
    choices = Choices(Path(given.state), given.hosts or "real", given.netns, given.listen)
    program: Callable[[Choices], Awaitable[None]]
    if given.program == "agent":  # imported one by one: neither needs the memory of the other
        from covey.main.agent import run_agent as program
    else:
        from covey.main.controller import run_controller as program
    try:
        asyncio.run(_until_told(program(choices)))
    except CoveyError as error:
        _give_up(given.program, error)
    except BaseExceptionGroup as group:  # of the tasks that a program runs side by side
        refusals, bugs = group.split(CoveyError)
        if refusals is None or bugs is not None:
            raise
        _give_up(given.program, _first(refusals))


def _give_up(program: str, error: CoveyError) -> NoReturn:
    """Say in a sentence why the program cannot go on."""
    hint = f"\n  try: {error.hint}" if error.hint else ""
    print(f"covey {program}: {error.object}: {error.what}{hint}", file=sys.stderr)
    sys.exit(CANNOT)


def _first(group: BaseExceptionGroup[CoveyError]) -> CoveyError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _end_with(parent: int) -> None:
    """See to it that this process is killed when `covey up` is: as an orphan it would hold the store, and keep the next `covey up` from
    beginning. Both programs can be killed at any moment."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)  # it died before the kernel was told


def _allow_files() -> None:
    """Each guest takes an open file, and so does each connection: the usual 1,024 would be used up by a few clients that open connections
    and say nothing."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MOST_FILES), most))


async def _until_told(program: Awaitable[None]) -> None:
    """Run a program until it ends or SIGTERM comes, which cancels it."""
    task = asyncio.ensure_future(program)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
