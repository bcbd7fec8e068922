"""The one place that wires all this together: `covey up`, and the two programs that it keeps running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from importlib.util import find_spec

from covey.agent.place import Place
from covey.base.errors import Refused, check
from covey.main.etcd import keep_etcd
from covey.main.layout import CANNOT, Choices, alone, choose, prepare

__all__ = ["choose", "up"]
STOP_WITHIN_S = 15.0
FIRST_START_S = 60.0
LOOK_EVERY_S = 0.1


def up(choices: Choices) -> int:
    """Run all of Covey in the foreground until interrupted; guests run on afterwards. Returns the exit status.
    Raises Refused or BadInput when it cannot begin."""
    check(
        os.geteuid() == 0 or choices.hosts == "fake",
        Refused("Covey must run as root", "covey up", "use sudo, or try it with --hosts fake"),
    )
    check(
        find_spec("covey.controller"),
        Refused("there is no controller on this machine, which has the package covey-node", "covey up", "install covey"),
    )
    prepare(choices.layout)
    with alone(choices.state):
        return asyncio.run(_supervise(choices))


async def _supervise(choices: Choices) -> int:
    """Keep agent and controller running; whichever dies is started again, and neither takes guests with it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    etcd = asyncio.create_task(keep_etcd(Place(choices.layout.store.parent).environment))
    try:
        async with asyncio.TaskGroup() as group:
            programs = [group.create_task(_keep_running(program, choices, stop)) for program in ("agent", "controller")]
            group.create_task(_say_when_it_answers(choices, stop))
    finally:  # after the controller, which has given back its right to lead
        etcd.cancel()
        await asyncio.wait({etcd})
    return max(task.result() for task in programs)


async def _say_when_it_answers(choices: Choices, stop: asyncio.Event) -> None:
    """Whoever reads that it runs may give the next command at once."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(choices.layout.api_socket)
            writer.close()
            print(f"covey runs with its state in {choices.state} (Ctrl-C ends it; guests run on)", file=sys.stderr, flush=True)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await stop.wait()


async def _keep_running(program: str, choices: Choices, stop: asyncio.Event) -> int:
    """Returns 0 once stopped. A program that says at its first start that it cannot (what was asked for is wrong, a port is taken) ends
    the other, too, and its status is returned; later, what stops it may pass."""
    pause = 0.2
    first = True
    # mallopt(3): one arena a thread would cost more memory than it saves time; and the buffers of TLS connections (256 KiB each) are to
    # go back to the system when a crowd of clients has gone.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "covey.main", program, "--parent", str(os.getpid()), *choices.arguments()),
            start_new_session=True,
            env=environment,
        )
        ended = asyncio.ensure_future(child.wait())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            child.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN_S):
                    await asyncio.shield(ended)
            except TimeoutError:
                child.kill()
                await ended
            return 0
        lived = asyncio.get_running_loop().time() - began
        if ended.result() == CANNOT and first and lived < FIRST_START_S:
            stop.set()
            return CANNOT
        first = False
        pause = 0.2 if lived > 10 else min(pause * 2, 10.0)
        print(f"covey: the {program} ended with status {ended.result()}; starting it again", file=sys.stderr, flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
    return 0
