"""What the agent tells of its own accord: the state of each domain when it changes, and how the machine is (DESIGN section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.host.guest.listener import GuestReport
from covey.host.host import Host
from covey.model.domain import FoundDomain
from covey.model.network import Interfaces
from covey.model.node import InstanceUse, Telemetry
from covey.model.order import Charge, Message, Observation, Observed, Room, Telling
from covey.model.pool import Place, Space
from covey.model.step import Step, step_kinds
from covey.model.steps.pool import EnsurePool

TELEMETRY_EVERY_S = 10.0
LOOK_AGAIN_EVERY_S = 60.0  # at every domain: an event may have been lost
log = structlog.get_logger()


class Observer:
    """Looks at domains when the hypervisor says that they changed, and sends what differs from what was sent before."""

    def __init__(
        self,
        host: Host,
        emit: Callable[[Message], None],
        clock: Clock,
        arrived: Callable[[str], None] = lambda instance: None,
    ) -> None:
        """`arrived` is called for each guest that begins to run, but for those that ran when this began to look."""
        self._host = host
        self._emit = emit
        self._clock = clock
        self._arrived = arrived
        self._has_looked = False
        self._sent: dict[str, Observation] = {}
        self._reports: dict[str, GuestReport] = {}
        self._ready: dict[str, tuple[int, GuestReport]] = {}  # generation that reported
        self._dirty: set[str] = set()
        self._owes_everything = False
        self._wake = asyncio.Event()
        host.hypervisor.subscribe(self._changed)
        host.guests.subscribe(self._reported)

    async def run(self) -> None:
        self._changed("")
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            try:
                await (self._look_at_everything() if "" in dirty else self._look_at(dirty))
            except CoveyError as error:
                log.warning("cannot look at the domains; trying again", error=str(error))
                await self._clock.sleep(2.0)
                self._changed("")

    async def look_again(self) -> None:
        """Look at every domain now and then."""
        while True:
            await self._clock.sleep(LOOK_AGAIN_EVERY_S)
            self._changed("")

    def owe_everything(self) -> None:
        """A leader could not be told of all domains: it is, as soon as they can be looked at. Differences alone would not do: it has
        not heard what they differ from."""
        self._owes_everything = True
        self._changed("")

    async def _look_at_everything(self) -> None:
        observed = await self.everything()
        if self._owes_everything:
            self._owes_everything = False
            self._emit(observed)

    async def everything(self) -> Observed:
        """All domains as they are now; differences are sent."""
        found = await self._host.hypervisor.domains()
        present = {domain.instance for domain in found}
        for domain in found:
            self._send(self._observation(domain))
        for gone in [instance for instance in self._sent if instance not in present]:
            self._send(Observation(gone, "missing", "", 0, 0))
        self._has_looked = True
        return Observed(tuple(self._sent[domain.instance] for domain in found))

    async def look_at(self, instance: str) -> None:
        await self._look_at({instance})

    def _changed(self, instance: str) -> None:
        self._dirty.add(instance)
        self._wake.set()

    def _reported(self, instance: str, report: GuestReport) -> None:
        self._reports[instance] = report
        self._changed(instance)

    async def _look_at(self, instances: set[str]) -> None:
        for instance in instances:
            domain = await self._host.hypervisor.domain(instance)
            self._send(self._observation(domain) if domain else Observation(instance, "missing", "", 0, 0))

    def _observation(self, domain: FoundDomain) -> Observation:
        instance, running = domain.instance, domain.state == "running"
        self._host.guests.follow(instance, domain.state in ("running", "paused"))
        report = self._reports.pop(instance, None)
        if report and running:
            self._ready[instance] = (domain.generation, report)
        generation, said = self._ready.get(instance, (0, None))
        seen = Observation(instance, domain.state, domain.reason, domain.generation, domain.pid, live=domain.live)
        if said is None or generation != domain.generation or not running:
            return seen
        return replace(
            seen, ready_generation=generation, ready_status=said.status, ready_s=said.seconds, addresses=said.addresses
        )

    def _send(self, observation: Observation) -> None:
        if observation.state == "missing":
            self._host.guests.follow(observation.instance, False)
            self._ready.pop(observation.instance, None)
            self._reports.pop(observation.instance, None)
            if self._sent.pop(observation.instance, None) is None:
                return
        elif self._sent.get(observation.instance) == observation:
            return
        else:
            before = self._sent.get(observation.instance)
            self._sent[observation.instance] = observation
            if self._has_looked and observation.state == "running" and not (before and before.state == "running"):
                self._arrived(observation.instance)
        self._emit(observation)


class Thermometer:
    """Tells how the machine is: at intervals, and right after a step that changed a pool's room."""

    def __init__(self, host: Host, emit: Callable[[Message], None], clock: Clock, about: Telemetry) -> None:
        """`about` holds what never changes: kinds, hypervisor's version, where pools go."""
        self._host = host
        self._emit = emit
        self._clock = clock
        self._about = replace(about, kinds=tuple(sorted(step_kinds())))
        self._charge = Charge({}, ())
        self._cpu: dict[str, tuple[float, float]] = {}  # instance -> when, CPU seconds
        self._problems: dict[str, str] = {}
        self._reading = asyncio.Lock()  # one at a time: what is told later was measured later

    def look_after(self, charge: Charge) -> None:
        self._charge = charge

    def note(self, about: str, trouble: str) -> None:
        """From now on there is this trouble, or with "" none any more."""
        self._problems = {key: text for key, text in {**self._problems, about: trouble}.items() if text}

    async def run(self) -> None:
        while True:
            await self.tell()
            await self._clock.sleep(TELEMETRY_EVERY_S)

    async def tell(self) -> None:
        self._emit(Telling(await self.read()))

    async def tell_room(self, step: Step, undone: bool) -> None:
        """After a step on a volume: its pool's room, before the outcome frees the claim on it. A new pool's room is told from now on."""
        if isinstance(step, EnsurePool):
            others = {pool: place for pool, place in self._charge.pools.items() if pool != step.pool}
            self._charge = replace(self._charge, pools=others if undone else {**others, step.pool: step.place})
        if step.object.startswith(("volume/", "pool/")):
            async with self._reading:
                pools = await self._measure_pools()
                self._emit(Room(self._clock.now(), pools, tuple(self._problems.values())))

    async def read(self) -> Telemetry:
        """The machine as it is now."""
        async with self._reading:
            return await self._read()

    async def _read(self) -> Telemetry:
        facts, load = self._host.machine.facts(), self._host.machine.load()
        pools = await self._measure_pools()
        instances = await self._measure_instances()
        interfaces = await self._look_at_interfaces()
        return replace(
            self._about,
            as_of=self._clock.now(),
            hostname=facts.hostname,
            boot_id=facts.boot_id,
            kernel=facts.kernel,
            resolvers=facts.resolvers,
            cpus=facts.cpus,
            memory=facts.memory,
            memory_free=load.memory_free,
            load1=load.load1,
            cpu_percent=load.cpu_percent,
            uptime_s=load.uptime_s,
            pools=pools,
            instances=instances,
            problems=tuple(self._problems.values()),
            interfaces=interfaces.names,
            bridges=interfaces.bridges,
        )

    async def _look_at_interfaces(self) -> Interfaces:
        try:
            interfaces = await self._host.networks.interfaces()
        except CoveyError as error:
            self._problems["interfaces"] = str(error)
            return Interfaces()
        self._problems.pop("interfaces", None)
        return interfaces

    async def _measure_pools(self) -> dict[str, Space]:
        """Side by side: one pool that does not answer must not keep the others waiting."""
        places = dict(self._charge.pools)
        rooms = await asyncio.gather(*(self._measure_pool(place) for place in places.values()))
        found = dict(zip(places, rooms, strict=True))
        spaces = {pool: room for pool, room in found.items() if isinstance(room, Space)}
        troubles = {f"pool {pool}": str(room) for pool, room in found.items() if isinstance(room, CoveyError)}
        others = {about: trouble for about, trouble in self._problems.items() if not about.startswith("pool ")}
        self._problems = others | troubles  # of a pool that was given up there is nothing to tell
        return spaces

    async def _measure_pool(self, place: Place) -> Space | CoveyError:
        try:
            return await self._host.storage(place).space(place)
        except CoveyError as error:
            return error

    async def _measure_instances(self) -> dict[str, InstanceUse]:
        try:
            usages = await self._host.hypervisor.usage()
            self._problems.pop("hypervisor", None)
        except CoveyError as error:
            self._problems["hypervisor"] = str(error)
            return {}
        now = self._clock.monotonic()
        used, self._cpu = self._cpu, {usage.instance: (now, usage.cpu_s) for usage in usages}
        instances = {}
        for usage in usages:
            then, cpu_s = used.get(usage.instance, (now, usage.cpu_s))
            percent = 100 * (usage.cpu_s - cpu_s) / (now - then) if now > then else 0.0
            instances[usage.instance] = InstanceUse(round(max(percent, 0.0), 1), usage.memory, usage.cpu_s, usage.traffic)
        return instances
