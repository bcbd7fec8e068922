"""Pretended machines: shelves that outlive their agents, and drivers that take time and die with their process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from covey.agent.neighbours import AgentNeighbours
from covey.base.errors import Refused, Unavailable, check
from covey.base.identity import files_in
from covey.host.doors import FakeDoors
from covey.host.export.fake import FakeExports
from covey.host.export.parts import Parts, parsed
from covey.host.filter.fake import FakeFilters
from covey.host.guest.guests import FakeGuests
from covey.host.guest.listener import GuestReport, Reported
from covey.host.host import Host
from covey.host.hypervisor.fake import FakeHypervisor
from covey.host.image.fake import FakeImages
from covey.host.machine import FakeMachine
from covey.host.migration.protocol import Neighbours
from covey.host.network.fake import FakeNetworks
from covey.host.rights import Rights
from covey.host.shelf import MemoryShelf, Thing
from covey.host.storage.diskless import DisklessStorage
from covey.host.storage.fake import FakeStorage
from covey.host.upload.fake import FakeUploads
from covey.model.machine import Facts, Load
from covey.model.pool import Volume

GIB = 2**30
MEMORY = 16 * GIB  # of each machine
CAPACITY = 200 * GIB  # of its first pool


class WatchedShelf(MemoryShelf):
    """A shelf that tells of every effect before it happens."""

    def __init__(self, told: Callable[[str, Thing | None], None]) -> None:
        super().__init__()
        self._told = told

    def put(self, key: str, thing: Thing) -> None:
        self._told(key, thing)
        super().put(key, thing)

    def delete(self, key: str) -> None:
        if self.get(key) is not None:
            self._told(key, None)
        super().delete(key)


class _Neighbours:
    """Volumes of other machines, as long as their agents live and offer them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @asynccontextmanager
    async def opened(self, volume: Volume, above: bool, start: int, origin: str, address: str) -> AsyncIterator[Parts]:
        other = self._machine.others[origin]
        check(other.is_up(), Unavailable("it does not answer", f"node {other.name}"))
        may = await FakeStorage(other.shelf).offered_to(volume)
        check(may == self._machine.node, Refused("it was not offered", f"volume {volume.id}"))
        attachment = FakeStorage(other.shelf).attachment(volume)
        async with FakeExports(other.shelf).in_parts(attachment, above, start) as content:
            yield await parsed(content.pieces)


class Machine:
    """What survives an agent: everything on the shelf. `capacity` may shrink under a running cluster; `names` are node id and name."""

    def __init__(self, node: str, name: str, told: Callable[[str, str, Thing | None], None]) -> None:
        self.node = node
        self.name = name
        self.boots = 1
        self.shelf = WatchedShelf(lambda key, thing: told(node, key, thing))
        self.capacity: dict[str, int] = {}
        self.answers = True  # its hypervisor
        self.others: Mapping[str, Machine] = {}  # all machines, by node
        self.is_up: Callable[[], bool] = lambda: True  # its agent

    def host(
        self,
        turn: Callable[[str], Awaitable[None]] | None = None,
        boots_in: Callable[[], float] = lambda: 0.0,
        neighbours: Neighbours | None = None,
    ) -> Host:
        """The machine's drivers for one process; `turn` is awaited before and after each call that changes something, and `boots_in`
        says after how many seconds the next guest is ready."""
        hypervisor = FakeHypervisor(self.shelf, MEMORY, "tcg")
        hypervisor.answers = self.answers

        def driven(driver: Any) -> Any:
            return _Driven(driver, turn) if turn else driver

        facts = Facts(8, MEMORY, f"{self.node}/{self.boots}", self.name, "6.1.0", "pretended")
        storage = FakeStorage(self.shelf, self.capacity)
        return Host(
            machine=FakeMachine(facts, Load(MEMORY // 2, 0.5, 10.0, 1000.0)),
            storages={"file": driven(storage), "diskless": DisklessStorage()},
            images=driven(FakeImages(self.shelf)),
            hypervisor=driven(hypervisor),
            networks=driven(FakeNetworks(self.shelf)),
            guests=driven(_SlowGuests(hypervisor, self.shelf, boots_in)),
            filters=driven(FakeFilters(self.shelf)),
            uploads=driven(FakeUploads(self.shelf)),
            exports=FakeExports(self.shelf),
            doors=driven(FakeDoors(self.shelf)),
            fetches=_Neighbours(self),
            rights=Rights(self.shelf),
            neighbours=neighbours or AgentNeighbours(files_in(Path("/nonexistent"))),  # of a machine alone there are none
        )


class _SlowGuests(FakeGuests):
    """Guests that take a while until they are ready."""

    def __init__(self, hypervisor: FakeHypervisor, shelf: MemoryShelf, boots_in: Callable[[], float]) -> None:
        super().__init__(hypervisor, shelf)
        self._boots_in = boots_in

    def subscribe(self, reported: Reported) -> None:
        def later(instance: str, report: GuestReport) -> None:
            asyncio.get_running_loop().call_later(self._boots_in(), reported, instance, report)

        super().subscribe(later)


class _Driven:
    """A driver whose changing calls wait for their turn, before and after the effect."""

    def __init__(self, driver: Any, turn: Callable[[str], Awaitable[None]]) -> None:
        self._driver = driver
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name == "subscribe" and isinstance(self._driver, FakeHypervisor):
            return lambda changed: found(lambda instance="": changed(instance))
        if not (name.startswith("ensure_") or name == "prove") or not inspect.iscoroutinefunction(found):
            return found
        turn = self._turn

        async def call(*args: Any, **kwargs: Any) -> Any:
            await turn(f"before {name}")
            result = await found(*args, **kwargs)
            await turn(f"after {name}")
            return result

        return call


def inner(driver: object) -> FakeHypervisor:
    """The pretended hypervisor behind a driven one."""
    return cast(FakeHypervisor, driver._driver if isinstance(driver, _Driven) else driver)


def acting_task() -> str:
    """The task of an agent that acts now, such as "5.0" or "5.0.undo"; "" when it is none."""
    task = asyncio.current_task()
    name = task.get_name() if task else ""
    return name.removeprefix("step ") if name.startswith("step ") else ""
