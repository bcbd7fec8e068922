"""Messages between leader and agents, in memory: late, twice or never. Stands where agent.client and agent.server stand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from covey.base.errors import CoveyError, Unavailable
from covey.controller.hearing import Hearing
from covey.model.network import Network
from covey.model.order import Charge, Epoch, Hello, Message, Observation, Observed, Order, Outcome, Room, Telling
from covey.model.pool import Pool
from covey.model.step import Step
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed

if TYPE_CHECKING:
    from tests.simulation.processes import AgentProcess, Controller

RECONNECT_S = 0.3
RESEND_S = 1.0  # after which an order is taken for lost


@dataclass(slots=True)
class Weather:
    """How messages fare: the chances that one is lost or comes twice, and the longest delay in seconds."""

    loss: float = 0.0
    double: float = 0.0
    longest_s: float = 0.004


class Wire:
    """All messages of a world pass here."""

    def __init__(self, random: Random) -> None:
        self.weather = Weather()
        self._random = random

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver a message later: not at all, once or twice, in any order with others."""
        if self._random.random() < self.weather.loss:
            return
        for _ in range(2 if self._random.random() < self.weather.double else 1):
            asyncio.get_running_loop().call_later(self.delay(), deliver)

    def breaks(self) -> bool:
        """Whether a stream breaks here."""
        return self._random.random() < self.weather.loss / 4

    def delay(self) -> float:
        return 0.0005 + self._random.random() * self.weather.longest_s


@dataclass(slots=True)
class _Pending:
    id: str
    epoch: Epoch
    step: Step
    undo: bool
    secrets: dict[str, str]
    future: asyncio.Future[Outcome]


class Link:
    """One controller's connection to one agent: orders are lossy datagrams, the stream is in order until it breaks."""

    def __init__(self, fleet: Fleet, node: str) -> None:
        self._fleet = fleet
        self._world = fleet.controller.world
        self._node = node
        self._pending: dict[str, _Pending] = {}
        self._agent: AgentProcess | None = None

    async def run(self) -> None:
        while True:
            await self._fleet.controller.awake()
            agent = self._world.agents.get(self._node)
            if agent and agent.alive:
                with contextlib.suppress(CoveyError):
                    await self._be_linked(agent)
                self._agent = None
                self._fleet.lost(self._node)
            await asyncio.sleep(RECONNECT_S)

    async def _be_linked(self, agent: AgentProcess) -> None:
        await asyncio.sleep(self._world.wire.delay())
        hello = await agent.agent.greet(self._fleet.epoch)
        stream = agent.agent.stream()
        self._agent = agent
        self._fleet.met(hello)
        await agent.agent.look_after(charge_of(self._fleet.feed.view))
        for task in list(self._pending):
            self._transmit(task)
        async for message in stream:
            if isinstance(message, Outcome) and agent.alive:
                self._world.told(message)
            await asyncio.sleep(self._world.wire.delay())
            if not agent.alive or self._world.wire.breaks():
                return
            self._take(message)

    def _take(self, message: Message) -> None:
        if not isinstance(message, Outcome):
            self._fleet.hear(self._node, message)
            return
        pending = self._pending.pop(message.task, None)
        if pending and not pending.future.done():
            self._world.note(f"{self._fleet.controller.name} hears {message.task} {'fails' if message.error else 'done'}")
            pending.future.set_result(message)

    async def carry_out(self, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool) -> Outcome:
        task = f"{id}.undo" if undo else id
        pending = self._pending.get(task)
        if pending is None:
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            pending = self._pending[task] = _Pending(id, epoch, step, undo, secrets, future)
            self._transmit(task)
        try:
            return await asyncio.shield(pending.future)
        except asyncio.CancelledError:
            self._pending.pop(task, None)
            raise

    def _transmit(self, task: str) -> None:
        """Send an order, and again until it is known to have arrived."""
        pending, agent = self._pending.get(task), self._agent
        controller = self._fleet.controller
        if pending is None or agent is None or not controller.alive:
            return
        if controller.stands_still:
            controller.spawn(self._transmit_once_awake(task))
            return
        order = Order(pending.id, pending.epoch, agent.agent.session, pending.step, pending.undo, pending.secrets)
        arrived = False

        def deliver() -> None:
            nonlocal arrived
            arrived = True
            error = self._world.deliver(self._node, order)
            if error and not isinstance(error, Unavailable):
                self._world.wire.send(lambda: self._take(Outcome(task, {}, error.to_json())))

        def resend() -> None:
            if not arrived and self._agent is agent and self._pending.get(task) is pending:
                self._transmit(task)

        self._world.wire.send(deliver)
        asyncio.get_running_loop().call_later(RESEND_S, resend)

    async def _transmit_once_awake(self, task: str) -> None:
        await self._fleet.controller.awake()
        self._transmit(task)

    def acknowledge(self, task: str) -> None:
        agent = self._agent

        def deliver() -> None:
            if agent and agent.alive:
                agent.agent.tasks.acknowledge([task])

        self._world.wire.send(deliver)

    async def look_after(self, charge: Charge) -> None:
        if self._agent and self._agent.alive:
            await self._agent.agent.look_after(charge)


class Fleet:
    """All links of one controller. Implements engine.nodes.Nodes."""

    def __init__(self, controller: Controller, epoch: Epoch, feed: Feed, hearing: Hearing, nodes: list[str]) -> None:
        self.controller = controller
        self.epoch = epoch
        self.feed = feed
        self._hearing = hearing
        self._links = {node: Link(self, node) for node in nodes}
        feed.listen(self._on_change)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for link in self._links.values():
                group.create_task(link.run())

    def met(self, hello: Hello) -> None:
        self.feed.tell(hello.node, hello.telemetry)

    def lost(self, node: str) -> None:
        self.feed.tell(node, None)

    def hear(self, node: str, message: Message) -> None:
        if isinstance(message, Telling):
            self.feed.tell(node, message.telemetry)
        elif isinstance(message, Room):
            self.feed.tell_room(node, message)
        elif isinstance(message, Observation):
            self._hearing.hear(node, message)
        elif isinstance(message, Observed):
            self._hearing.hear_all(node, message.observations)

    def _on_change(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if any(key.startswith(("state/pool/", "state/network/")) for key, _ in changes):
            for link in self._links.values():
                self.controller.spawn(link.look_after(charge_of(after)))

    async def carry_out(
        self, node: str, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool = False
    ) -> Outcome:
        return await self._links[node].carry_out(id, epoch, step, secrets, undo)

    def acknowledge(self, node: str, task: str) -> None:
        self._links[node].acknowledge(task)

    async def console_tail(self, node: str, instance: str) -> str:
        return "(what the console said)"


def charge_of(view: ClusterView) -> Charge:
    pools = {pool.id: pool.place for pool in view.all("pool", Pool) if pool.capability.holds_volumes}
    return Charge(pools, tuple(view.all("network", Network)))
