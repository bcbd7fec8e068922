"""The agent's program."""

from __future__ import annotations

import asyncio
import pwd
import secrets
import shutil
from importlib.util import find_spec

from covey.agent.agent import Agent
from covey.agent.keeping import Keeping
from covey.agent.listen import Doors
from covey.agent.membership import Memberships
from covey.agent.neighbours import AgentNeighbours
from covey.agent.server import make_app
from covey.agent.tasks import EpochFile
from covey.base.clock import SystemClock
from covey.base.identity import files_in
from covey.base.notify import tell_systemd
from covey.base.run import run
from covey.host.doors import Doors as HostDoors
from covey.host.export.exports import HostExports
from covey.host.export.fake import FakeExports
from covey.host.export.fetch import HostFetches
from covey.host.filter.fake import FakeFilters
from covey.host.filter.host import HostFilters
from covey.host.guest.guests import FakeGuests, HostGuests
from covey.host.host import Host
from covey.host.hypervisor.fake import FakeHypervisor
from covey.host.hypervisor.libvirt import LibvirtHypervisor
from covey.host.hypervisor.private import (
    QEMU_USER,
    await_private_libvirtd,
    ensure_private_libvirtd,
    keep_private_libvirtd,
    private_files,
)
from covey.host.image.fake import FakeImages
from covey.host.image.images import HostImages
from covey.host.machine import FakeMachine, HostMachine
from covey.host.network.bridge import HostNetworks
from covey.host.network.fake import FakeNetworks
from covey.host.rights import DurableShelf, Rights
from covey.host.shelf import FileShelf
from covey.host.storage.diskless import DisklessStorage
from covey.host.storage.fake import FakeStorage
from covey.host.storage.file import FileStorage
from covey.host.upload.fake import FakeUploads
from covey.host.upload.uploads import HostUploads
from covey.main.layout import Choices, Layout, node_id
from covey.model.cluster import Defaults
from covey.model.machine import Facts, Load
from covey.model.node import Telemetry

FAKE_MEMORY = 64 * 2**40  # bytes that a pretended machine has


async def run_agent(choices: Choices) -> None:

    layout = choices.layout
    is_fake = choices.hosts == "fake"
    epochs = EpochFile(layout.agent / "epoch.json")
    memberships = Memberships(layout.identity, node_id(layout), epochs)
    host, version = await (_fake_host(layout, memberships) if is_fake else _real_host(choices, memberships))
    keeps_libvirtd = not is_fake and not choices.is_service  # the service's is kept by systemd
    keeper = asyncio.create_task(keep_private_libvirtd(layout.state, choices.netns)) if keeps_libvirtd else None
    capabilities = await host.hypervisor.capabilities(Defaults().machine)
    carries_store = choices.store.shared and bool(find_spec("covey.controller")) and bool(shutil.which("etcd"))
    about = Telemetry(0.0, hypervisor=version, pool_path=str(layout.pool), capabilities=capabilities, carries_store=carries_store)
    agent = Agent(node_id(layout), host, secrets.token_hex(8), epochs, SystemClock(), about, layout.agent)
    agent.start()
    keeping = Keeping(layout.store.parent, layout.tls, memberships, node_id(layout), SystemClock())
    app = make_app(agent, memberships, keeping)
    doors = Doors(app, layout.agent_socket, memberships, agent.hang_up, agent.note)
    serving = asyncio.create_task(doors.serve(doors.open()))
    tell_systemd("READY=1", f"STATUS=answers at {layout.agent_socket}")
    try:
        await asyncio.shield(serving)
    finally:
        if keeper:
            keeper.cancel()
        agent.hang_up()  # else the server would wait for the stream, and then complain of having to cut it
        serving.cancel()
        await asyncio.wait({serving})
        await agent.close()


async def _real_host(choices: Choices, doors: HostDoors) -> tuple[Host, str]:
    """The machine itself: its drivers, and the hypervisor's version."""

    layout, netns = choices.layout, choices.netns
    account = pwd.getpwnam(QEMU_USER)
    owner = (account.pw_uid, account.pw_gid)
    uri = await (await_private_libvirtd(layout.state) if choices.is_service else ensure_private_libvirtd(layout.state, netns))
    version = (await run(["qemu-system-x86_64", "--version"], timeout_s=20)).text.splitlines()[0]
    hypervisor = LibvirtHypervisor(
        uri, layout.guests, files=private_files(layout.state), seed=lambda i: layout.seeds / f"{i}.iso"
    )
    host = Host(
        HostMachine(),
        {"file": FileStorage(owner), "diskless": DisklessStorage()},
        HostImages(layout.images, owner, files_in(layout.identity)),
        hypervisor,
        HostNetworks(netns or None, node_id(layout)),
        HostGuests(hypervisor, layout.seeds, owner),
        HostFilters(layout.filters, node_id(layout), netns or None),
        HostUploads(),
        HostExports(layout.agent / "exports"),
        doors,
        HostFetches(files_in(layout.identity)),
        Rights(DurableShelf(layout.agent / "rights")),
        AgentNeighbours(files_in(layout.identity)),
    )
    return host, version


async def _fake_host(layout: Layout, doors: HostDoors) -> tuple[Host, str]:
    """A machine that only pretends; what it pretends to have survives this process."""

    shelf = FileShelf(layout.fake)
    hypervisor = FakeHypervisor(shelf, memory=None)
    host = Host(
        FakeMachine(Facts(64, FAKE_MEMORY, "pretended", "n1", "pretended", "pretended"), Load(FAKE_MEMORY, 0.0, 0.0, 1.0)),
        {"file": FakeStorage(shelf), "diskless": DisklessStorage()},
        FakeImages(shelf),
        hypervisor,
        FakeNetworks(shelf),
        FakeGuests(hypervisor, shelf),
        FakeFilters(shelf),
        FakeUploads(shelf),
        FakeExports(shelf),
        doors,
        HostFetches(files_in(layout.identity)),
        Rights(shelf),
        AgentNeighbours(files_in(layout.identity)),
    )
    return host, "pretended"
