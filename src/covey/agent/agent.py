"""The agent of one machine: its tasks, its observations, and the stream to the leader. Knows no transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog

from covey.agent.herald import Herald
from covey.agent.local import Acts, Local
from covey.agent.observe import Observer, Thermometer
from covey.agent.taking_in import Arrivals
from covey.agent.tasks import EpochFile, Tasks
from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.base.files import write_durably
from covey.host.host import Host
from covey.model import codec
from covey.model.node import Telemetry
from covey.model.order import Charge, Epoch, Hello, Inventory, Message, Order, Telling
from covey.model.pool import FoundVolume, Place
from covey.model.step import Step
from covey.model.transfer import FoundUpload

LONGEST_QUEUE = 100_000  # messages to a leader that does not read: then the stream is ended, and begins anew with all that counts
LOOK_AT_FILTERS_EVERY_S = 60.0
LOOK_AT_UPLOADS_EVERY_S = 600.0
log = structlog.get_logger()


class Agent:
    def __init__(
        self,
        node: str,
        host: Host,
        session: str,
        epochs: EpochFile,
        clock: Clock,
        about: Telemetry,
        keeps: Path | None = None,
    ) -> None:
        """`keeps` is the directory of what a person needs when nobody leads; None for simulations, which have no files."""
        self.node = node
        self.host = host
        self.session = session
        self._stream: asyncio.Queue[Message | None] | None = None
        self._herald = Herald(host, clock)
        self._observer = Observer(host, self._emit, clock, self._herald.arrived)
        self._thermometer = Thermometer(host, self._emit, clock, about)
        self.tasks = Tasks(host, session, epochs, self._emit, self._settled)
        self.arrivals = Arrivals(host, self.tasks.alone)
        self._clock = clock
        self._kept_charge = keeps / "charge.json" if keeps else None
        acts = Acts(keeps / "local.json" if keeps else None)
        self.local = Local(host, self.tasks, acts, clock, lambda: self.is_led, self.hang_up)
        self._places: tuple[Place, ...] = ()
        self._charged = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._background = [
            asyncio.create_task(work)
            for work in (
                self._observer.run(),
                self._observer.look_again(),
                self._thermometer.run(),
                self._keep_filters(),
                self._clear_uploads(),
            )
        ]

    async def close(self) -> None:
        """Stop without touching any guest."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._herald.close()
        await self.tasks.close()
        self.hang_up()
        await self.host.guests.close()
        await self.host.hypervisor.close()

    async def _keep_filters(self) -> None:
        """Packet rules that were flushed leave guests unguarded: they are made again at once, without being told."""
        while True:
            try:
                why = await self.host.filters.ensure_intact()
                if why:
                    log.warning("the packet rules of NICs were made again", why=why)
            except CoveyError as error:
                log.warning("cannot see to the packet rules of NICs; trying again", error=str(error))
            await self._clock.sleep(LOOK_AT_FILTERS_EVERY_S)

    async def _clear_uploads(self) -> None:
        """What was cut off when an agent died goes as soon as it is known where the pools are; what nobody made a disk of, in time."""
        while True:
            await self._charged.wait()
            for place in self._places:
                try:
                    await self.host.uploads.ensure_old_absent(place)
                except (CoveyError, OSError) as error:
                    log.warning("cannot clear old uploads; trying again", pool=place.path, error=str(error))
            await self._clock.sleep(LOOK_AT_UPLOADS_EVERY_S)

    @property
    def is_led(self) -> bool:
        """Whether a leader listens."""
        return self._stream is not None

    def note(self, about: str, trouble: str) -> None:
        """What a person should know of the machine, told with all else; "" when it is over."""
        self._thermometer.note(about, trouble)

    async def greet(self, epoch: Epoch) -> Hello:
        """A leader tells its epoch before it gives any order (P9): from here on, older ones are refused. Raises Refused for an older one."""
        self.tasks.epochs.obey(epoch)
        telemetry = await self._thermometer.read()
        return Hello(self.node, self.session, tuple(self.tasks.in_flight), telemetry, self.local.acts.untold)

    @property
    def last_charge(self) -> Charge:
        """What the last leader had this machine look after."""
        if self._kept_charge and self._kept_charge.exists():
            return codec.decode(Charge, json.loads(self._kept_charge.read_text()))
        return Charge({}, ())

    async def look_after(self, charge: Charge) -> None:
        self._keep(charge)
        self._thermometer.look_after(charge)
        self._places = tuple(charge.pools.values())
        self._charged.set()
        await self._thermometer.tell()

    def _keep(self, charge: Charge) -> None:
        if self._kept_charge:
            text = json.dumps(codec.encode(charge))
            if not self._kept_charge.exists() or self._kept_charge.read_text() != text:
                write_durably(self._kept_charge, text.encode())

    def accept(self, orders: list[Order]) -> list[CoveyError | None]:
        """One answer an order: None when its task is under way or known."""
        answers: list[CoveyError | None] = []
        for order in orders:
            try:
                self.tasks.accept(order)
                answers.append(None)
            except CoveyError as error:
                answers.append(error)
        return answers

    async def stream(self) -> AsyncGenerator[Message, None]:
        """Everything the leader must know, then everything that changes. A new stream ends the one before: there is one leader."""
        self.hang_up()
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._stream = queue
        try:
            yield Telling(await self._thermometer.read())
            try:
                yield await self._observer.everything()
            except CoveyError as error:
                log.warning("cannot look at the domains", error=str(error))
                self._observer.owe_everything()
            for outcome in self.tasks.outcomes():
                yield outcome
            while (message := await queue.get()) is not None:
                yield message
        finally:
            if self._stream is queue:  # nobody reads it any more: it must not fill while no leader comes
                self._stream = None

    def hang_up(self) -> None:
        """End the stream that there is, if any."""
        if self._stream:
            self._stream.put_nowait(None)
            self._stream = None

    def _emit(self, message: Message) -> None:
        if self._stream is None:
            return
        if self._stream.qsize() > LONGEST_QUEUE:
            self.hang_up()
        else:
            self._stream.put_nowait(message)

    async def _settled(self, step: Step, undone: bool) -> None:
        """What a step changed is told before its outcome: the leader then never decides on a state from before it."""
        await self._thermometer.tell_room(step, undone)
        if step.object.startswith("instance/"):
            await self._observer.look_at(step.object.removeprefix("instance/"))

    async def inventory(self, charge: Charge) -> Inventory:
        """Everything of Covey's on this machine. What cannot be looked at is named, not left out in silence."""
        problems: list[str] = []
        volumes: list[FoundVolume] = []
        uploads: list[FoundUpload] = []
        for place in charge.pools.values():
            try:
                volumes += await self.host.storage(place).volumes(place)
                uploads += await self.host.uploads.uploads(place)
            except CoveyError as error:
                problems.append(str(error))
        try:
            domains = await self.host.hypervisor.domains()
            drifts = await self.host.hypervisor.drifts()
        except CoveyError as error:
            domains, drifts = (), {}
            problems.append(str(error))
        try:
            networks = await self.host.networks.networks(charge.networks)
        except CoveyError as error:
            networks = ()
            problems.append(str(error))
        try:
            filters = await self.host.filters.filters()
        except CoveyError as error:
            filters = None
            problems.append(str(error))
        images = await self.host.images.images()
        return Inventory(
            domains,
            tuple(volumes),
            images,
            networks,
            await self.host.guests.seeds(),
            tuple(problems),
            filters,
            drifts,
            tuple(uploads),
        )
