"""The one place that wires all this together: the programs `covey up`, its agent and its controller."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import CoveyError, Refused, check
from covey.base.files import write_durably

FAKE_MEMORY = 64 * 2**40  # bytes that a pretended machine has
STOP_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one Covey is: below its state directory and nowhere else."""

    state: Path

    @property
    def api_socket(self) -> Path:
        return self.state / "covey.sock"

    @property
    def agent_socket(self) -> Path:
        return self.state / "agent.sock"

    @property
    def store(self) -> Path:
        return self.state / "store" / "covey.db"

    @property
    def agent(self) -> Path:
        return self.state / "agent"

    @property
    def events(self) -> Path:
        return self.state / "events"

    @property
    def tls(self) -> Path:
        return self.state / "tls"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def pool(self) -> Path:
        return self.state / "pools" / "default"

    @property
    def guests(self) -> Path:
        return self.state / "guests"

    @property
    def seeds(self) -> Path:
        return self.state / "seeds"

    @property
    def fake(self) -> Path:
        return self.state / "fake"


@dataclass(frozen=True, slots=True)
class Choices:
    """What `covey up` was asked for."""

    state: Path
    hosts: str = "real"  # real | fake
    netns: str = ""  # network namespace of bridges and guests; "" for the machine's own
    listen: str = ""  # HOST:PORT for TLS, "" for the unix socket only

    def arguments(self) -> list[str]:
        return ["--state", str(self.state), "--hosts", self.hosts, "--netns", self.netns, "--listen", self.listen]


# --- covey up ----------------------------------------------------------------------------------------------------------------------
def up(state: str, hosts: str = "real", netns: str = "", listen: str = "") -> int:
    """Run all of Covey in the foreground until interrupted; guests run on afterwards. Returns the exit status.
    Raises Refused when it cannot begin."""
    choices = Choices(Path(state).absolute(), hosts, netns, listen)
    check(
        os.geteuid() == 0 or hosts == "fake",
        Refused("Covey must run as root", "covey up", "use sudo, or try it with --hosts fake"),
    )
    prepare(Layout(choices.state))
    with _alone(choices.state):
        return asyncio.run(_supervise(choices))


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the state directory's lock. Raises Refused while another covey has it."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused("another covey runs on this state directory", str(state), "end that one, or use another --state") from None
    try:
        yield
    finally:
        os.close(descriptor)


def prepare(layout: Layout) -> None:
    """Make the state directory: passable for QEMU's user, readable for nobody but root."""
    layout.state.mkdir(mode=0o711, parents=True, exist_ok=True)
    for directory in (layout.store.parent, layout.agent, layout.events, layout.tls):
        directory.mkdir(mode=0o700, exist_ok=True)
    for directory in (layout.images, layout.guests, layout.seeds):
        directory.mkdir(mode=0o711, exist_ok=True)


async def _supervise(choices: Choices) -> int:
    """Keep agent and controller running; whichever dies is started again, and neither takes guests with it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        programs = [group.create_task(_keep_running(program, choices, stop)) for program in ("agent", "controller")]
        print(f"covey runs with its state in {choices.state} (Ctrl-C ends it; guests run on)", file=sys.stderr, flush=True)
    return max(task.result() for task in programs)


async def _keep_running(program: str, choices: Choices, stop: asyncio.Event) -> int:
    """Returns 0 once stopped, or the program's status when it refuses to begin (2: what was asked for is wrong)."""
    pause = 0.2
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "covey.main", program, *choices.arguments(), start_new_session=True
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
        if ended.result() == 2:
            stop.set()
            return 2
        lived = asyncio.get_running_loop().time() - began
        pause = 0.2 if lived > 10 else min(pause * 2, 10.0)
        print(f"covey: the {program} ended with status {ended.result()}; starting it again", file=sys.stderr, flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()
    return 0


# --- the agent ---------------------------------------------------------------------------------------------------------------------
async def run_agent(choices: Choices) -> None:
    import uvicorn

    from covey.agent.agent import Agent
    from covey.agent.server import make_app
    from covey.agent.tasks import EpochFile
    from covey.base.clock import SystemClock
    from covey.model.node import Telemetry

    layout = Layout(choices.state)
    host, version = await (_fake_host(layout) if choices.hosts == "fake" else _real_host(layout, choices.netns))
    about = Telemetry(0.0, hypervisor=version, pool_path=str(layout.pool))
    agent = Agent(_node_id(layout), host, secrets.token_hex(8), EpochFile(layout.agent / "epoch.json"), SystemClock(), about)
    agent.start()
    config = uvicorn.Config(
        make_app(agent), log_config=None, access_log=False, lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=1
    )

    class Server(uvicorn.Server):
        """Signals are ours to handle."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(config)
    try:
        await server.serve(sockets=[_unix_socket(layout.agent_socket)])
    finally:
        await agent.close()


def _unix_socket(path: Path):  # type: ignore[no-untyped-def]
    """A listening unix socket for its owner only. One that a killed process left is replaced; the caller holds a lock that keeps a
    second process from here."""
    import socket

    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


def _node_id(layout: Layout) -> str:
    """This machine's identity, drawn once."""
    path = layout.agent / "node-id"
    if not path.exists():
        write_durably(path, str(uuid.uuid4()).encode())
    return path.read_text().strip()


async def _real_host(layout: Layout, netns: str):  # type: ignore[no-untyped-def]
    """The machine itself: its drivers, and the hypervisor's version."""
    import pwd

    from covey.base.run import run
    from covey.host.guest.guests import HostGuests
    from covey.host.host import Host
    from covey.host.hypervisor.libvirt import LibvirtHypervisor
    from covey.host.hypervisor.private import QEMU_USER, ensure_private_libvirtd, private_files
    from covey.host.image.images import HostImages
    from covey.host.machine import HostMachine
    from covey.host.network.bridge import HostNetworks
    from covey.host.storage.diskless import DisklessStorage
    from covey.host.storage.file import FileStorage

    account = pwd.getpwnam(QEMU_USER)
    owner = (account.pw_uid, account.pw_gid)
    uri = await ensure_private_libvirtd(layout.state, netns)
    version = (await run(["qemu-system-x86_64", "--version"], timeout_s=20)).text.splitlines()[0]
    hypervisor = LibvirtHypervisor(
        uri, layout.guests, files=private_files(layout.state), seed=lambda i: layout.seeds / f"{i}.iso"
    )
    host = Host(
        HostMachine(),
        {"file": FileStorage(owner), "diskless": DisklessStorage()},
        HostImages(layout.images, owner),
        hypervisor,
        HostNetworks(netns or None),
        HostGuests(hypervisor, layout.seeds, owner),
    )
    return host, version


async def _fake_host(layout: Layout):  # type: ignore[no-untyped-def]
    """A machine that only pretends; what it pretends to have survives this process."""
    from covey.host.guest.guests import FakeGuests
    from covey.host.host import Host
    from covey.host.hypervisor.fake import FakeHypervisor
    from covey.host.image.fake import FakeImages
    from covey.host.machine import FakeMachine
    from covey.model.machine import Facts, Load
    from covey.host.network.fake import FakeNetworks
    from covey.host.shelf import DirectoryShelf
    from covey.host.storage.diskless import DisklessStorage
    from covey.host.storage.fake import FakeStorage

    shelf = DirectoryShelf(layout.fake)
    hypervisor = FakeHypervisor(shelf, memory=None)
    host = Host(
        FakeMachine(Facts(64, FAKE_MEMORY, "pretended", "n1", "pretended", "pretended"), Load(FAKE_MEMORY, 0.0, 0.0, 1.0)),
        {"file": FakeStorage(shelf), "diskless": DisklessStorage()},
        FakeImages(shelf),
        hypervisor,
        FakeNetworks(shelf),
        FakeGuests(hypervisor, shelf),
    )
    return host, "pretended"


# --- the controller ----------------------------------------------------------------------------------------------------------------
async def run_controller(choices: Choices) -> None:
    from covey.base.clock import SystemClock
    from covey.controller.controller import Controller
    from covey.store.sqlite import SqliteStore

    layout = Layout(choices.state)
    clock = SystemClock()
    store = await SqliteStore.open(layout.store, clock)
    try:
        controller = await Controller.lead(store, clock, [layout.agent_socket], _node_id(layout))
        await controller.run(lambda: serve(controller))
    finally:
        await store.close()


# --- programs ----------------------------------------------------------------------------------------------------------------------
def main() -> None:
    """`python -m covey.main agent|controller`, as `covey up` starts them."""
    import argparse

    from covey.base import log

    parser = argparse.ArgumentParser(prog="covey.main")
    parser.add_argument("program", choices=("agent", "controller"))
    for option in ("state", "hosts", "netns", "listen"):
        parser.add_argument(f"--{option}", default="")
    given = parser.parse_args()
    log.configure(json=False)
    choices = Choices(Path(given.state), given.hosts or "real", given.netns, given.listen)
    programs: dict[str, Callable[[Choices], Awaitable[None]]] = {"agent": run_agent, "controller": run_controller}
    try:
        asyncio.run(_until_told(programs[given.program](choices)))
    except CoveyError as error:
        print(
            f"covey {given.program}: {error.object}: {error.what}" + (f"\n  try: {error.hint}" if error.hint else ""),
            file=sys.stderr,
        )
        sys.exit(2 if isinstance(error, Refused) else 1)


async def _until_told(program: Awaitable[None]) -> None:
    """Run a program until it ends or SIGTERM comes, which cancels it."""
    task = asyncio.ensure_future(program)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    main()
