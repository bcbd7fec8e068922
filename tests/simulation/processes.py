"""The processes of a world: an agent's and a controller's, each of which may be killed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from covey.agent.agent import Agent
from covey.base.errors import CoveyError, Unavailable
from covey.controller.healer import Healer
from covey.controller.hearing import Hearing
from covey.controller.lead import take_leadership
from covey.engine.engine import Engine
from covey.engine.ledger import Deposed, Ledger
from covey.host.hypervisor.fake import FakeHypervisor
from covey.model.node import Telemetry
from covey.planner import plan
from covey.store.feed import Feed
from covey.store.memory import Faults, MemoryStore
from covey.store.protocol import Batch, Op, Unchanged
from tests.kit.builders import CAPABILITIES
from tests.simulation.machines import acting_task, inner
from tests.simulation.transport import Fleet

if TYPE_CHECKING:
    from tests.simulation.world import World


class AgentProcess:
    """One run of an agent's program on a machine."""

    def __init__(self, world: World, node: str, session: str) -> None:
        self.world = world
        self.node = node
        self.alive = True
        self.paused = asyncio.Event()
        self.paused.set()
        self._closing: asyncio.Task[None] | None = None
        self.host = world.machines[node].host(self._turn, lambda: world.random.random() * world.slowest_boot_s)
        about = Telemetry(0.0, hypervisor="pretended", pool_path="/srv/default", capabilities=CAPABILITIES)
        self.agent = Agent(node, self.host, session, world.epochs[node], world.clock, about)
        self.agent.start()

    @property
    def hypervisor(self) -> FakeHypervisor:
        return inner(self.host.hypervisor)

    async def _turn(self, what: str) -> None:
        """Before and after each call of a driver: takes time, and never comes for a dead process."""
        task = acting_task()
        if what.startswith("after"):
            if task:
                self.world.reach("halfway", task)
            if self.world.lingers_s:
                await asyncio.sleep(self.world.lingers_s)
        elif self.world.slowest_s:
            await asyncio.sleep(self.world.random.random() * self.world.slowest_s)
        await self.paused.wait()
        if not self.alive:
            raise asyncio.CancelledError
        if task:
            self.world.note(f"{task} {what}")

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            self.paused.set()
            self._closing = asyncio.get_running_loop().create_task(self.agent.close())


class _StoreWeather(Faults):
    """What one controller suffers from its store."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._world = controller.world

    async def before_read(self, key: str) -> None:
        await self._controller.connected()
        self._maybe_fail()

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        await self._controller.connected()
        self._maybe_fail()
        self._world.about_to_write(self._controller, ops)
        if not self._controller.alive:
            raise Unavailable("its process is dead", "store")

    async def after_txn(self, revision: int) -> None:
        self._maybe_fail()

    async def before_batch(self, batch: Batch) -> None:
        await self._controller.connected()
        if self._world.store_errors:
            await asyncio.sleep(self._world.random.random() * 0.3)
        self._maybe_fail()

    def _maybe_fail(self) -> None:
        if self._world.store_errors and self._world.random.random() < self._world.store_errors:
            raise Unavailable("the store is out of order", "store")


class Controller:
    """One run of the controller's program. `cut_off` ones go on without the store: what a deposed leader looks like."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.cut_off = False
        self.engine: Engine | None = None
        self.feed: Feed | None = None
        self.ledger: Ledger | None = None
        self.fleet: Fleet | None = None
        self._joined = asyncio.Event()
        self._joined.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._main = asyncio.get_running_loop().create_task(self._run(), name=f"controller {self.name}")

    async def connected(self) -> None:
        await self._joined.wait()

    def cut_from_store(self) -> None:
        self.cut_off = True
        self._joined.clear()

    def join_store(self) -> None:
        self.cut_off = False
        self._joined.set()

    def spawn(self, doing: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.get_running_loop().create_task(_quietly(doing)))

    async def _run(self) -> None:
        while self.alive:
            try:
                await self._lead()
            except Unavailable as error:
                self.world.note(f"{self.name} cannot start: {error.what}")
                await asyncio.sleep(0.5)
            except Deposed:
                self.world.note(f"{self.name} is deposed")
                self.kill()

    async def _lead(self) -> None:
        clock = self.world.clock
        store = MemoryStore(self.world.data, clock, _StoreWeather(self))
        self.feed = feed = Feed(store)
        await feed.start()
        leadership, revision = await take_leadership(store, clock, self.name)
        self.ledger = ledger = Ledger(store, clock, leadership, revision)
        hearing = Hearing(feed, ledger, clock)
        self.fleet = fleet = Fleet(self, ledger.epoch, feed, hearing, sorted(self.world.machines))
        engine = Engine(store, feed, ledger, fleet, clock, plan)
        healer = Healer(feed, engine, ledger, fleet, clock, lambda: f"{self.world.random.getrandbits(128):032x}")
        self.engine = engine
        parts: list[Awaitable[None]] = [engine.run(), hearing.run(), fleet.run(), healer.run()]
        works = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in works:
                if work in done:
                    work.result()
        finally:
            self.engine = None
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await feed.close()
            await store.close()

    def kill(self) -> None:
        """At once: nothing of it reaches the store or a node from here on."""
        if not self.alive:
            return
        self.alive = False
        self.engine = None
        if self._main and self._main is not asyncio.current_task():
            self._main.cancel()
        for task in self._tasks:
            task.cancel()


async def _quietly(doing: Coroutine[Any, Any, None]) -> None:
    try:
        await doing
    except CoveyError:  # a node that could not be told will be told with its next link
        pass
