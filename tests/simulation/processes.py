"""The processes of a world: an agent's and a controller's, each of which may be killed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from covey.agent.agent import Agent
from covey.base.errors import CoveyError, Unavailable
from covey.controller.controller import Controller as Turns
from covey.controller.controller import lead
from covey.controller.healer import Healer
from covey.controller.hearing import Hearing
from covey.controller.lead import Alone, Election, Held
from covey.engine.engine import Engine
from covey.engine.ledger import Ledger
from covey.host.hypervisor.fake import FakeHypervisor
from covey.model.node import Telemetry
from covey.planner import plan
from covey.store.feed import Feed
from covey.store.memory import Faults, MemoryStore
from covey.store.protocol import Batch, Op, Store, Unchanged
from tests.kit.builders import CAPABILITIES
from tests.simulation.machines import acting_task, inner
from tests.simulation.neighbours import SimulatedNeighbours
from tests.simulation.transport import Fleet

if TYPE_CHECKING:
    from tests.simulation.world import World


SHARED_STORE_S = 0.02  # what the way to a store takes at most that several share


class AgentProcess:
    """One run of an agent's program on a machine."""

    def __init__(self, world: World, node: str, session: str) -> None:
        self.world = world
        self.node = node
        self.alive = True
        self.paused = asyncio.Event()
        self.paused.set()
        self._closing: asyncio.Task[None] | None = None
        neighbours = SimulatedNeighbours(world, node, self._turn)
        self.host = world.machines[node].host(self._turn, lambda: world.random.random() * world.slowest_boot_s, neighbours)
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
        await self._reach()

    async def before_txn(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> None:
        await self._reach()
        self._world.about_to_write(self._controller, ops)
        if self._controller.cut_off:
            await self._controller.connected()
            self._world.writer = self._controller
        self._check_alive()

    async def after_txn(self, revision: int) -> None:
        self._maybe_fail()

    async def before_batch(self, batch: Batch) -> None:
        await self._controller.connected()
        if self._world.store_errors:
            await asyncio.sleep(self._world.random.random() * 0.3)
        self._maybe_fail()

    async def _reach(self) -> None:
        """A store that others share is some way off: what was read may be old by the time of the write."""
        await self._controller.connected()
        if self._world.elects:
            await asyncio.sleep(self._world.random.random() * SHARED_STORE_S)
        self._maybe_fail()

    def _maybe_fail(self) -> None:
        self._check_alive()
        if self._world.store_errors and self._world.random.random() < self._world.store_errors:
            raise Unavailable("the store is out of order", "store")

    def _check_alive(self) -> None:
        if not self._controller.alive:
            raise Unavailable("its process is dead", "store")


class _OwnClock:
    """The world's, save that nothing wakes in a process that stands still."""

    def __init__(self, controller: Controller) -> None:
        self._clock = controller.world.clock
        self._controller = controller

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._controller.awake()


class _Once:
    """The lead of a store that one process has to itself. A simulated world may break that rule: then who is deposed ends."""

    def __init__(self, controller: Controller, store: Store) -> None:
        self._controller = controller
        self._alone = Alone(store, controller.world.clock, controller.name)
        self._was_won = False

    async def won(self) -> Held:
        if self._was_won:
            self._controller.world.note(f"{self._controller.name} is deposed")
            self._controller.kill()
            await asyncio.Event().wait()
        right = await self._alone.won()
        self._was_won = True
        return right


class _Term:
    """What leads, as controller.Term has it, over the simulated wire."""

    def __init__(self, controller: Controller, store: Store, feed: Feed, right: Held) -> None:
        clock, world = controller.clock, controller.world
        self.ledger = Ledger(store, clock, right.leadership, right.revision)
        self.hearing = Hearing(feed, self.ledger, clock)
        self.fleet = Fleet(controller, self.ledger.epoch, feed, self.hearing, sorted(world.machines))
        self.engine = Engine(store, feed, self.ledger, self.fleet, clock, plan)
        draw = world.random.getrandbits
        self.healer = Healer(feed, self.engine, self.ledger, self.fleet, clock, lambda: f"{draw(128):032x}")

    async def run(self, right: Held) -> None:
        await lead(right, self.engine.run(), self.hearing.run(), self.fleet.run(), self.healer.run())


class Controller:
    """One run of the controller's program: it follows and leads by the real code. `cut_off` ones go on without the store: what a deposed
    leader looks like. One that stands still does nothing at all, and does not know afterwards that it did."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = _OwnClock(self)
        self.alive = True
        self.cut_off = False
        self.engine: Engine | None = None
        self.feed: Feed | None = None
        self.ledger: Ledger | None = None
        self.fleet: Fleet | None = None
        self._joined = asyncio.Event()
        self._joined.set()
        self._awake = asyncio.Event()
        self._awake.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._main = asyncio.get_running_loop().create_task(self._run(), name=f"controller {self.name}")

    async def connected(self) -> None:
        """Until it reaches the store, and can do anything."""
        while not (self._joined.is_set() and self._awake.is_set()):
            await self._joined.wait()
            await self._awake.wait()

    async def awake(self) -> None:
        await self._awake.wait()

    @property
    def stands_still(self) -> bool:
        return not self._awake.is_set()

    def cut_from_store(self) -> None:
        self.cut_off = True
        self._joined.clear()

    def join_store(self) -> None:
        self.cut_off = False
        self._joined.set()

    def pause(self) -> None:
        self._awake.clear()

    def resume(self) -> None:
        self._awake.set()

    def spawn(self, doing: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.get_running_loop().create_task(_quietly(doing)))

    async def _run(self) -> None:
        while self.alive:
            store = MemoryStore(self.world.data, self.clock, _StoreWeather(self))
            self.feed = feed = Feed(store)
            try:
                await feed.start()
                await self._turns(store, feed).run()
            except Unavailable as error:
                self.world.note(f"{self.name} cannot start: {error.what}")
                await asyncio.sleep(0.5)
            finally:
                await feed.close()
                await store.close()

    def _turns(self, store: Store, feed: Feed) -> Turns[_Term]:
        candidacy = Election(store, self.clock, self.name) if self.world.elects else _Once(self, store)

        def begin(term: _Term) -> None:
            self.world.note(f"{self.name} leads, epoch {term.ledger.epoch[1]}")
            self.engine, self.ledger, self.fleet = term.engine, term.ledger, term.fleet

        def end() -> None:
            self.engine = None

        async def follow() -> None:
            await asyncio.Event().wait()

        return Turns(feed, candidacy, lambda right: _Term(self, store, feed, right), begin, end, follow)

    async def stop(self) -> None:
        """As it is told to: it resigns first."""
        if self._main and self.alive:
            self._main.cancel()
            await asyncio.wait([self._main])
        self.kill()

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
