"""A world: machines and records that survive, processes that do not, and the laws that must hold all the time."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from random import Random
from typing import Any

from covey.agent.tasks import EpochFile
from covey.base.errors import CoveyError, Unavailable
from covey.host.shelf import MemoryShelf, Thing
from covey.host.storage.fake import upload_key
from covey.model import record as records
from covey.model.cluster import Defaults
from covey.model.job import Job
from covey.model.order import Order, Outcome
from covey.model.record import Record
from covey.model.request import Request
from covey.model.requests.disk import ImportDisk
from covey.store.memory import MemoryData
from covey.store.protocol import LEASES, Op, Put, Unchanged
from tests.kit.builders import a_cluster_record, a_network, a_node, a_pool, an_image
from tests.kit.virtual import VirtualLoop, virtual_clock
from tests.simulation.machines import CAPACITY, Machine, acting_task
from tests.simulation.processes import AgentProcess, Controller
from tests.simulation.transport import Wire

USUAL_S = 1.0  # what a host's call takes at most, on a good day
LEADER = records.key("leadership", "leader")


class Broken(AssertionError):
    """An invariant does not hold."""


class World:
    """One run. `note` keeps the trace, whose hash tells two runs apart; `broken` collects what no run may do."""

    def __init__(self, seed: int, nodes: int = 1, controllers: int = 1) -> None:
        """With one controller the store is its own; several elect who leads."""
        self.random = Random(seed)
        self.clock = virtual_clock()
        self.data = _Data(self._written)
        self.writer: Controller | None = None  # who writes now
        self.wire = Wire(self.random)
        self.machines = {node.id: Machine(node.id, node.name, self._effect) for node in map(a_node, _names(nodes))}
        self.epochs = {node: EpochFile(None) for node in self.machines}
        self.agents: dict[str, AgentProcess] = {}
        for machine in self.machines.values():
            machine.others = self.machines
            machine.is_up = partial(self._is_up, machine.node)
        self.controllers: list[Controller] = []
        self.controllers_wanted = controllers
        self.elects = controllers > 1
        self.led: dict[int, str] = {}  # who wrote, by epoch
        self.acknowledged: dict[int, Request] = {}
        self.coverage: Counter[tuple[str, str, str]] = Counter()
        self.broken: list[str] = []
        self.trace: list[str] = []
        self.keeps_trace = False
        self.store_errors = 0.0  # chance that a transaction fails, before or after it was written
        self.slowest_s = USUAL_S  # what a host's call takes at most before its effect
        self.slowest_boot_s = 15.0
        self.lingers_s = 0.0  # and after it
        self.spies: list[Callable[[str, str], None]] = []  # told (point, what): a crash matrix kills here
        self.cancels: list[asyncio.Task[None]] = []  # what somebody still waits for
        self._hash = hashlib.blake2b(digest_size=8)
        self._undone: set[str] = set()
        self._spoken: dict[str, tuple[int, int]] = {}
        self._sessions = 0
        self._newest: dict[str, int] = {}  # by guest, the latest start that has run anywhere

    def _is_up(self, node: str) -> bool:
        process = self.agents.get(node)
        return bool(process and process.alive and process.paused.is_set())

    # --- the trace -----------------------------------------------------------------------------------------------------------------
    def note(self, text: str) -> None:
        line = f"{self.clock.monotonic():.6f} {text}"
        self._hash.update(line.encode())
        if self.keeps_trace:
            self.trace.append(line)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def violate(self, law: str) -> None:
        self.note(f"BROKEN {law}")
        self.broken.append(law)

    def reach(self, point: str, what: str) -> None:
        """A point where something may be killed."""
        for spy in list(self.spies):
            spy(point, what)

    # --- making --------------------------------------------------------------------------------------------------------------------
    async def furnish(self, is_blank: bool = False) -> None:
        """A cluster with a pool and a network on every machine and an image on one, as earlier jobs would have left it; a blank world has none."""
        if is_blank:
            return
        pool, network, image = a_pool(), a_network(), an_image()
        defaults = Defaults(memory=2**30, stop_graceful_s=5.0, ready_timeout_s=30.0, keep_removed_s=45.0)
        nodes = [a_node(machine.name) for machine in self.machines.values()]
        made: tuple[Record, ...] = (a_cluster_record(defaults=defaults), *nodes, pool, network, image)
        self.data.write((), [Put(records.key_of(record), records.to_bytes(record)) for record in made])
        for machine in self.machines.values():
            machine.capacity[pool.place.path] = CAPACITY
            host = machine.host()
            await host.storage(pool.place).ensure_pool(pool.place, "0")
            await host.networks.ensure_network(network, "0")
            if machine.node == image.node:
                await host.images.ensure_fetched(image.id, image.source, "", "0", lambda text, done, total: None)

    def start_agent(self, node: str) -> None:
        if node not in self.agents or not self.agents[node].alive:
            self._sessions += 1
            self.agents[node] = AgentProcess(self, node, f"s{self._sessions}")
            self.note(f"agent {self.machines[node].name} starts as s{self._sessions}")

    def start_controller(self) -> Controller:
        controller = Controller(self, f"c{len(self.controllers) + 1}")
        self.controllers.append(controller)
        self.note(f"controller {controller.name} starts")
        controller.start()
        return controller

    def start(self) -> Controller:
        for node in self.machines:
            self.start_agent(node)
        self.start_missing_controllers()
        return self.controllers[-1]

    def start_missing_controllers(self) -> None:
        while len(self.living) < self.controllers_wanted:
            self.start_controller()

    @property
    def living(self) -> list[Controller]:
        return [controller for controller in self.controllers if controller.alive]

    @property
    def leader(self) -> Controller | None:
        """The living controller that leads in the highest epoch, and can act."""
        able = [each for each in self.living if each.engine and each.ledger and not each.cut_off and not each.stands_still]
        return max(able, key=lambda each: each.ledger.epoch if each.ledger else (0, 0), default=None)

    async def submit(self, request: Request, **about: Any) -> int:
        """Hand a request in, as the service does; returns its job's number. Raises CoveyError."""
        leader = self.leader
        if leader is None or leader.engine is None:
            raise Unavailable("nobody leads", "cluster")
        request = replace(request, seed=f"{self.random.getrandbits(128):032x}", now=self.clock.now())
        request.check()
        if isinstance(request, ImportDisk):
            self._receive(request)
        job, _ = await leader.engine.submit(Job(0, request, "anna", "queued", self.clock.now(), **about))
        self.acknowledged[job.id] = request
        self.note(f"job {job.id} is {request.title}")
        return job.id

    def _receive(self, request: ImportDisk) -> None:
        """The image that was sent lies on every machine: which it is for, only its plan says."""
        for machine in self.machines.values():
            path = f"{a_pool().place.path}/uploads/{request.upload}.{request.found.format}"
            MemoryShelf.put(machine.shelf, upload_key(path), asdict(request.found))  # by no order of a job

    async def close(self) -> None:
        for controller in self.controllers:
            controller.kill()
        for agent in self.agents.values():
            agent.kill()
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop) and loop.mishaps:
            self.violate(f"nobody looked at: {loop.mishaps[0]}")

    # --- laws that hold at each moment ---------------------------------------------------------------------------------------------
    def deliver(self, node: str, order: Order) -> CoveyError | None:
        """An order arrives; the answer is what the agent refuses it with."""
        process = self.agents.get(node)
        if process is None or not process.alive:
            return Unavailable("nobody is there")
        before = process.agent.tasks.in_flight
        (error,) = process.agent.accept([order])
        began = order.task in process.agent.tasks.in_flight and order.task not in before
        self.note(
            f"{self.machines[node].name} gets {order.task} {order.step.kind}: {'refused' if error else 'begins' if began else 'known'}"
        )
        if began and order.epoch < self._spoken.get(node, (0, 0)):
            self.violate(f"order {order.task} of the deposed epoch {order.epoch} was begun")
        if began and order.session != process.agent.session:
            self.violate(f"order {order.task} for session {order.session} was begun by another")
        self._spoken[node] = max(order.epoch, self._spoken.get(node, (0, 0)))
        if began:
            self.reach("begun", order.task)
        return error

    def told(self, outcome: Outcome) -> None:
        """An agent tells how a task ended, for the first time or again."""
        if outcome.task.endswith(".undo") and outcome.error is None:
            self._undone.add(_step_of(outcome.task))
        self.reach("effected", outcome.task)

    def _effect(self, node: str, key: str, thing: Thing | None) -> None:
        task = acting_task()
        self.note(f"{self.machines[node].name} {'puts' if thing else 'drops'} {key} for {task}")
        if task and not task.endswith(".undo") and _step_of(task) in self._undone:
            self.violate(f"step {task} had the effect {key} after it was taken back")
        if key.startswith("domain/") and thing is not None and thing["state"] == "running":
            if thing["generation"] < self._newest.get(key, 0):
                self.violate(f"{key} goes on as start {thing['generation']}, and has run as {self._newest[key]}")
            self._newest[key] = thing["generation"]
            for other in self.machines.values():
                there = other.shelf.get(key) if other.node != node else None
                if there and there["state"] == "running":
                    self.violate(f"{key} runs on {other.name} too")

    def about_to_write(self, writer: Controller, ops: Sequence[Op]) -> None:
        """Nothing comes between this and the write, save the writer's death."""
        self.writer = writer
        self.reach("commit", about(ops))

    def _written(self, ops: Sequence[Op]) -> None:
        """A transaction went through."""
        writer, touched = self.writer, [op.key for op in ops]
        if writer is None or touched[0].startswith(LEASES):  # of leases, who holds them says nothing
            return
        self.note(f"{writer.name} writes {' '.join(touched)}")
        entry = self.data.get(LEADER)
        leadership: dict[str, Any] = json.loads(entry.value) if entry else {"holder": "", "epoch": 0}
        if leadership["holder"] != writer.name:
            self.violate(f"{writer.name} wrote {touched[0]}, but {leadership['holder']} leads")
        if self.led.setdefault(leadership["epoch"], writer.name) != writer.name:
            self.violate(f"{writer.name} wrote in the epoch of {self.led[leadership['epoch']]}")
        self.reach("committed", about(ops))


class _Data(MemoryData):
    """The records, which tell the world of each transaction in the moment in which it is written."""

    def __init__(self, written: Callable[[Sequence[Op]], None]) -> None:
        super().__init__()
        self._written = written
        self.seen_revision = 0  # of the last change that views see: leases come and go without

    def write(self, compare: Sequence[Unchanged], ops: Sequence[Op]) -> int:
        revision = super().write(compare, ops)
        if any(op.key.startswith(records.PREFIX) for op in ops):
            self.seen_revision = revision
        self._written(ops)
        return revision


def _names(nodes: int) -> list[str]:
    return [f"n{number + 1}" for number in range(nodes)]


def _step_of(task: str) -> str:
    """The step that a task carries out or takes back: "5.0" of "5.0.undo" and of "5.0.1a2b.undo"."""
    return ".".join(task.split(".")[:2])


def about(ops: Sequence[Op]) -> str:
    """What a transaction says of a job: "5 running 2", or ""."""
    for op in ops:
        if isinstance(op, Put) and op.key.startswith(("state/job/", "history/job/")):
            value = json.loads(op.value)
            job = value.get("job", value)
            return f"{job['id']} {job['state']} {job['step']}"
    return ""
