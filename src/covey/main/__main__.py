"""`python -m covey.main agent|controller|etcd|libvirtd|guests`, as `covey up` starts them, or systemd."""

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
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import NoReturn

# structlog takes rich in for its tracebacks wherever that happens to be installed: 9 MB in each daemon, for nothing.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

import structlog

from covey.base import log
from covey.base.clock import SystemClock
from covey.base.config import find_file, find_looseness
from covey.base.errors import CoveyError
from covey.base.notify import show_life, tell_systemd
from covey.main.layout import CANNOT, Choices, alone, choose, prepare

PR_SET_PDEATHSIG = 1  # prctl(2)
MOST_FILES = 65_536
STARTED_AFTER_S = 10.0


def main() -> None:
    """With `--parent` a program of `covey up`, without it a service of systemd's."""
    parser = argparse.ArgumentParser(prog="covey.main")
    parser.add_argument("program", choices=("agent", "controller", "etcd", "libvirtd", "guests"))
    for option in ("state", "hosts", "netns", "listen"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--config", default="")
    parser.add_argument("--sockets", default="")
    parser.add_argument("--parent", type=int, default=0)
    given = parser.parse_args()
    if given.parent:
        _end_with(given.parent)
    _allow_files()
    try:
        config = given.config if given.parent else find_file(given.config, os.environ)
        choices = choose(config, state=given.state, hosts=given.hosts, netns=given.netns, listen=given.listen)
        choices = replace(choices, sockets=given.sockets, is_service=not given.parent)
    except CoveyError as error:
        _give_up(given.program, error)
    log.configure(json=choices.log.form == "json", level=choices.log.level)
    if loose := find_looseness(choices.config):
        structlog.get_logger().warning("the settings file is not safe", file=choices.config, why=loose)
    gc.set_threshold(50_000, 20, 50)  # records are many, immutable and without cycles: looking through them often is time lost
    program: Callable[[Choices], Awaitable[None]]
    if given.program == "agent":  # imported one by one: none needs the memory of the others
        from covey.main.agent import run_agent as program
    elif given.program == "controller":
        from covey.main.controller import run_controller as program
    elif given.program == "etcd":
        from covey.main.etcd import run_etcd as program
    elif given.program == "libvirtd":
        from covey.main.libvirtd import become_libvirtd as program
    else:
        from covey.main.guests import rest_guests as program
    try:
        with _as_service(choices) if choices.is_service else contextlib.nullcontext():
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


@contextlib.contextmanager
def _as_service(choices: Choices) -> Iterator[None]:
    """What `covey up` does for its programs, a service does for itself."""
    prepare(choices.layout)
    with alone(choices.state, among_services=True):
        yield


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
    life = asyncio.ensure_future(show_life(SystemClock()))
    asyncio.get_running_loop().call_later(STARTED_AFTER_S, _give_back_memory)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    life.cancel()
    tell_systemd("STOPPING=1")


def _give_back_memory() -> None:
    """What starting took and running does not need goes back to the kernel: malloc(3) would keep it (malloc_trim(3))."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
