"""`covey local`: what a person may have done on this machine while nobody leads it (S19).

It needs neither controller nor store: libvirt keeps the definitions, which say whose they are and by which generation they ran last; the
agent keeps the networks of its last charge. Each act is on disk before it is done, and is told to the next leader before that learns anything
else of this machine: so nobody starts again what a person has just stopped.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from covey.agent.tasks import Tasks
from covey.base.clock import Clock
from covey.base.errors import CoveyError, NotFound, Refused, check
from covey.base.files import write_durably
from covey.host import domains, networks
from covey.host.host import Host
from covey.model import codec
from covey.model.domain import FoundDomain
from covey.model.local import START, STOP, LocalAct
from covey.model.order import Charge

KEPT = 500  # acts that leaders have taken in, for whoever looks later
LEADER_WITHIN_S = 5.0  # a leader that lives comes back so soon when it is hung up on
LOOK_EVERY_S = 0.1
log = structlog.get_logger()


class Acts:
    """The acts on this machine, in a file."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: remembered in memory only, for simulations."""
        self._path = path
        self.all: tuple[LocalAct, ...] = ()
        if path and path.exists():
            self.all = tuple(codec.decode(LocalAct, one) for one in json.loads(path.read_text()))

    @property
    def untold(self) -> tuple[LocalAct, ...]:
        """What no leader has taken in yet, the oldest first. What came to nothing is nobody's wish."""
        return tuple(act for act in self.all if not act.told and not act.failed)

    def keep(self, act: LocalAct) -> None:
        """Write an act down, or what became of it. Raises OSError."""
        others = [one for one in self.all if one.id != act.id]
        self._write([*others, act])

    def forget(self, ids: Sequence[str]) -> None:
        """A leader has taken these in. Raises OSError."""
        self._write([replace(one, told=True) if one.id in ids else one for one in self.all])

    def _write(self, acts: Sequence[LocalAct]) -> None:
        over = [act.id for act in acts if act.told or act.failed][:-KEPT]
        self.all = tuple(sorted((act for act in acts if act.id not in over), key=lambda act: act.at))
        if self._path:
            write_durably(self._path, json.dumps([codec.encode(act) for act in self.all]).encode())


class Local:
    """`is_led` says whether a leader listens, and `hang_up` ends its stream."""

    def __init__(
        self, host: Host, tasks: Tasks, acts: Acts, clock: Clock, is_led: Callable[[], bool], hang_up: Callable[[], None]
    ) -> None:
        self.acts = acts
        self._host = host
        self._tasks = tasks
        self._clock = clock
        self._is_led = is_led
        self._hang_up = hang_up

    async def guests(self) -> tuple[FoundDomain, ...]:
        """What is defined here, by name. Raises Unavailable."""
        return tuple(sorted(await self._host.hypervisor.domains(), key=lambda domain: (domain.title, domain.instance)))

    async def start(self, named: str, by: str, reason: str, charge: Charge) -> FoundDomain:
        """The guest of that name runs; whoever asks knows that it runs nowhere else. `charge` says how its networks are to be, should they
        be gone. Raises NotFound, Refused while a leader leads, and what keeps it from running."""
        domain = await self._found(named)
        await self._check_not_led(domain, START)
        async with self._tasks.alone(f"instance/{domain.instance}"):
            domain = await self._again(domain)
            if domain.state == "running":
                return domain
            floor = self._host.rights.of(domain.instance).floor
            generation = domain.generation if domain.state == "paused" else max(domain.generation + 1, floor)
            act = self._noted(START, domain, generation, by, reason)
            try:
                await self._lay_networks(domain, charge)
                await domains.ensure_running(self._host, domain.instance, generation)
            except CoveyError as error:
                self.acts.keep(replace(act, failed=str(error)))
                raise
            return await self._again(domain)

    async def stop(self, named: str, graceful_s: float, by: str, reason: str) -> FoundDomain:
        """The guest of that name does not run: it was asked over ACPI, and cut after so many seconds. Raises NotFound, Refused while a
        leader leads, and what keeps it from stopping."""
        domain = await self._found(named)
        await self._check_not_led(domain, STOP)
        async with self._tasks.alone(f"instance/{domain.instance}"):
            domain = await self._again(domain)
            if domain.state not in ("running", "paused"):
                # It may be down by a crash: that it is to stay down is a wish all the same.
                self._noted(STOP, domain, domain.generation, by, reason)
                return domain
            act = self._noted(STOP, domain, domain.generation, by, reason)
            try:
                if graceful_s:
                    await self._host.hypervisor.ensure_asked_to_stop(domain.instance, graceful_s)
                await domains.ensure_stopped(self._host, domain.instance, domain.generation)
            except CoveyError as error:
                self.acts.keep(replace(act, failed=str(error)))
                raise
            return await self._again(domain)

    async def _found(self, named: str) -> FoundDomain:
        """By name or UUID."""
        found = [domain for domain in await self._host.hypervisor.domains() if named in (domain.title, domain.instance)]
        check(found, NotFound("nothing of that name is defined on this machine", f"instance {named}", "see: covey local list"))
        ids = ", ".join(domain.instance for domain in found)
        check(len(found) == 1, Refused(f"several here have that name: {ids}", f"instance {named}", "name it by its UUID"))
        return found[0]

    async def _again(self, domain: FoundDomain) -> FoundDomain:
        """As it is by now."""
        found = await self._host.hypervisor.domain(domain.instance)
        check(found, NotFound("it is not defined here any more", f"instance {domain.title}", "see: covey local list"))
        return found or domain

    async def _check_not_led(self, domain: FoundDomain, verb: str) -> None:
        """A leader that is gone without a word looks like one that listens: one that lives comes back at once. Raises Refused."""
        if not self._is_led():
            return
        self._hang_up()
        deadline = self._clock.monotonic() + LEADER_WITHIN_S
        while self._clock.monotonic() < deadline:
            check(
                not self._is_led(),
                Refused("a leader leads this machine", f"instance {domain.title}", f"covey instance {verb} {domain.title}"),
            )
            await self._clock.sleep(LOOK_EVERY_S)

    def _noted(self, what: str, domain: FoundDomain, generation: int, by: str, reason: str) -> LocalAct:
        act = LocalAct(str(uuid.uuid4()), what, domain.instance, domain.title, generation, self._clock.now(), by, reason)
        self.acts.keep(act)
        log.warning(
            "a person acts without a leader", what=what, instance=domain.instance, name=domain.title, by=by, reason=reason
        )
        return act

    async def _lay_networks(self, domain: FoundDomain, charge: Charge) -> None:
        """Bridges do not survive a restart of the machine."""
        bridges = {nic.bridge for nic in domain.nics}
        for network in charge.networks:
            if network.bridge in bridges:
                await networks.ensure_network(self._host, network, "0")
