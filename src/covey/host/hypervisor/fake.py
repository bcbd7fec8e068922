"""A hypervisor that only pretends, for tests and trials without QEMU: the same answers as libvirt's, from a shelf, at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covey.base.errors import BadInput, NoSpace, NotFound, Refused, StepFailed, Unavailable, check, require
from covey.base.units import humane_size
from covey.host.guest.listener import GuestReport, Reported
from covey.host.hypervisor.definition import digest, with_disk, with_nic, without_disk, without_nic
from covey.host.hypervisor.fake_guest import FakeGuestAgent
from covey.host.hypervisor.png import png_of
from covey.host.hypervisor.protocol import Usage
from covey.host.hypervisor.prove import AUTO, KVM, TCG
from covey.host.hypervisor.runs import COVEY, CRASHED, GUEST
from covey.host.migration.protocol import CONTROL, Moved, Offer, Passage, Pipe, Told, Wish
from covey.host.shelf import Shelf
from covey.host.storage.fake import flatten_open_volume, grow_open_volume
from covey.host.storage.protocol import Attachment
from covey.model.codec import decode, encode
from covey.model.domain import Domain, DomainDisk, DomainNic, Drift, FoundDomain, tap_of
from covey.model.machine import Capabilities
from covey.model.names import check_uuid
from covey.model.node import Traffic
from covey.model.pool import Volume
from covey.model.shape import Shape, at_once, shape_of

DEFAULT_MEMORY = 64 * 2**30
BOOTED = Traffic(disk_read=512, disk_reads=1)  # a guest that has read its boot sector
_DOMAIN, _FOREIGN, _COUNTER = "domain/", "foreign-domain/", "pids"
RUNNING, PAUSED, STOPPED = "running", "paused", "stopped"
ARRIVED = b"arrived"  # the word of one that has taken a guest in


@dataclass(frozen=True, slots=True)
class _Guest:
    """A pretended guest. `inside` are the volumes that the running guest has, `plugged` its NICs; `deaf` ones do not hear the power
    button, `clinging` ones do not let go of a disk or NIC, `agentless` ones do not answer questions."""

    domain: Domain
    job: str
    state: str = STOPPED
    reason: str = ""
    generation: int = 0
    pid: int = 0
    inside: tuple[DomainDisk, ...] = ()
    plugged: tuple[DomainNic, ...] = ()
    live: Shape | None = None
    tampered: str = ""
    deaf: bool = False
    clinging: bool = False
    agentless: bool = False

    @property
    def active(self) -> bool:
        return self.state in (RUNNING, PAUSED)

    def ended(self, reason: str) -> _Guest:
        return replace(
            self, state=CRASHED if reason == CRASHED else STOPPED, reason=reason, pid=0, inside=(), plugged=(), live=None
        )


class FakeHypervisor:
    """`memory` is what all running guests together may have (None: no end of it); `accelerator` is what works here."""

    def __init__(self, shelf: Shelf, memory: int | None = DEFAULT_MEMORY, accelerator: str = KVM) -> None:
        self._shelf = shelf
        self._memory = memory
        self._accelerator = accelerator
        self._subscribers: list[Callable[[str], None]] = []
        self._agent = FakeGuestAgent()
        self.answers = True

    # The protocol

    async def prove(self, wanted: str, timeout_s: float) -> tuple[str, str]:
        check(wanted in (AUTO, KVM, TCG), BadInput(f"{wanted!r} is no accelerator", "", "use auto, kvm or tcg"))
        check(
            wanted != KVM or self._accelerator == KVM,
            Refused("KVM does not work: this machine pretends to have none", "accelerator kvm", "use tcg"),
        )
        return (self._accelerator if wanted == AUTO else wanted), f"pretended: {self._accelerator} works here"

    async def ensure_defined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> None:
        known = self._find(domain.instance)
        wanted = [disk.volume.id for disk in domain.disks] + ([domain.iso] if domain.iso else [])
        missing = [id for id in wanted if id not in attachments]
        if known and digest(known.domain) == digest(domain) and not known.tampered:
            return
        check(
            "<bogus" not in domain.raw_xml,  # what no libvirt takes
            StepFailed("libvirt does not take the definition: it pretends to know it", f"instance {domain.instance}"),
        )
        check(not missing, NotFound(f"nothing says how to open {', '.join(missing)}", f"instance {domain.instance}"))
        self._keep(replace(known, domain=domain, tampered="") if known else _Guest(domain, job))

    async def ensure_redefined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> Shape | None:
        await self.ensure_defined(domain, attachments, job)
        guest = self._must_find(domain.instance)
        if guest.live is None:
            return None
        live = at_once(guest.live, shape_of(domain))
        self._keep(replace(guest, live=live))
        return live

    async def ensure_running(self, instance: str, generation: int) -> int:
        guest = self._must_find(instance)
        if guest.active:
            self._keep(replace(guest, state=RUNNING))
            return guest.pid
        self._check_memory(guest)
        pid = self._next_pid()
        inside, plugged = guest.domain.disks, guest.domain.nics
        live = shape_of(guest.domain)
        started = replace(
            guest, state=RUNNING, reason="", generation=generation, pid=pid, inside=inside, plugged=plugged, live=live
        )
        self._keep(started)
        return pid

    async def ensure_generation(self, instance: str, generation: int) -> int:
        guest = self._must_find(instance)
        if guest.active and guest.generation < generation:
            await self.ensure_stopped(instance)
        return await self.ensure_running(instance, generation)

    async def ensure_stopped(self, instance: str) -> bool:
        guest = self._find(instance)
        if guest is None or not guest.active:
            return False
        self._keep(guest.ended(COVEY))
        return True

    async def ensure_asked_to_stop(self, instance: str, graceful_s: float) -> bool:
        guest = self._find(instance)
        if guest is None or not guest.active:
            return True
        if guest.state == PAUSED or guest.deaf:
            return False
        self._keep(guest.ended(COVEY))
        return True

    async def ensure_absent(self, instance: str, job: str = "", keep_variables: bool = False) -> None:
        guest = self._find(instance)
        if guest is None or (job and guest.job != job):
            return
        check(not guest.active, Refused("it runs, and is not removed while it does", f"instance {instance}", "stop it first"))
        self._shelf.delete(_DOMAIN + instance)
        self._tell(instance)

    async def ensure_attached(self, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
        guest = self._must_find(instance)
        domain = with_disk(guest.domain, disk)
        inside = with_disk(replace(domain, disks=guest.inside), disk).disks if guest.active else ()
        self._keep(replace(guest, domain=domain, inside=inside))

    async def ensure_detached(self, instance: str, disk: int, timeout_s: float) -> None:
        guest = self._find(instance)
        if guest is None:
            return
        check(
            not guest.clinging or all(one.index != disk for one in guest.inside),
            Refused(
                f"the guest did not let go of disk {disk} within {timeout_s:g} s",
                f"instance {instance}",
                "unmount it in the guest and try again, or stop the instance first",
            ),
        )
        inside = tuple(one for one in guest.inside if one.index != disk)
        self._keep(replace(guest, domain=without_disk(guest.domain, disk), inside=inside))

    async def ensure_nic_attached(self, instance: str, nic: DomainNic) -> None:
        guest = self._must_find(instance)
        domain = with_nic(guest.domain, nic)
        plugged = with_nic(replace(domain, nics=guest.plugged), nic).nics if guest.active else ()
        self._keep(replace(guest, domain=domain, plugged=plugged))

    async def ensure_nic_set(self, instance: str, nic: DomainNic) -> None:
        guest = self._must_find(instance)
        known = guest.plugged if guest.active else guest.domain.nics
        check(
            any(one.index == nic.index for one in known),
            NotFound(f"it has no NIC {nic.index}", f"instance {instance}", "see: covey cluster verify"),
        )
        await self.ensure_nic_attached(instance, nic)

    async def ensure_nic_detached(self, instance: str, nic: int, timeout_s: float) -> None:
        guest = self._find(instance)
        if guest is None:
            return
        check(
            not guest.clinging or all(one.index != nic for one in guest.plugged),
            Refused(
                f"the guest did not let go of NIC {nic} within {timeout_s:g} s",
                f"instance {instance}",
                "try again when the guest has booted, or stop the instance first",
            ),
        )
        plugged = tuple(one for one in guest.plugged if one.index != nic)
        self._keep(replace(guest, domain=without_nic(guest.domain, nic), plugged=plugged))

    async def ensure_guest_size(self, instance: str, disk: int, size: int) -> bool:
        guest = self._find(instance)
        if guest is None:
            return False
        check(
            not guest.active or any(one.index == disk for one in guest.inside),
            NotFound(f"the running guest has no disk {disk}", f"instance {instance}"),
        )
        for one in guest.inside:
            if one.index == disk:
                grow_open_volume(self._shelf, one.volume, size)
        self._keep(
            replace(
                guest,
                domain=replace(guest.domain, disks=_grown(guest.domain.disks, disk, size)),
                inside=_grown(guest.inside, disk, size),
            )
        )
        return guest.active

    async def ask_guest(self, instance: str, command: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        guest = self._must_find(instance)
        check(guest.state == RUNNING, Refused("it does not run", f"instance {instance}", "start it first"))
        check(
            not guest.agentless,
            Refused(
                "its guest agent does not answer: it pretends to have none", f"instance {instance}", "install qemu-guest-agent"
            ),
        )
        return self._agent.answer(guest.domain, command, arguments)

    async def screenshot(self, instance: str) -> bytes:
        check(self._must_find(instance).active, Refused("it does not run", f"instance {instance}", "start it first"))
        return png_of(b"P6\n2 1\n255\n" + bytes(6))

    async def capabilities(self, machine: str) -> Capabilities:
        self._check_answers()
        models = ("host", "x86-64-v1", "x86-64-v2", "Nehalem", "qemu64")
        return Capabilities({TCG: models, KVM: models}, ("bios", "uefi"))

    async def ensure_overlaid(self, domain: Domain, attachments: dict[str, Attachment]) -> bool:
        guest = self._must_find(domain.instance)
        inside = {one.index: one for one in guest.inside}
        taken = tuple(one for one in domain.disks if one.index in inside) if guest.active else ()
        self._keep(replace(guest, domain=domain, inside=taken))
        return not guest.active

    async def ensure_merged(
        self,
        domain: Domain,
        disk: int,
        top: Volume,
        base: Volume,
        attachments: dict[str, Attachment],
        told: Callable[[int, int], None],
    ) -> bool:
        guest = self._find(domain.instance)
        if guest is None or not guest.active or all(one.index != disk for one in guest.inside):
            return False
        told(top.size, top.size)
        inside = tuple(replace(one, volume=base) if one.volume.id == top.id else one for one in guest.inside)
        self._keep(replace(guest, domain=domain, inside=inside, state=RUNNING))
        return True

    async def ensure_flat(
        self, instance: str, disk: int, volume: Volume, attachment: Attachment, told: Callable[[int, int], None]
    ) -> bool:
        guest = self._find(instance)
        if guest is None or not guest.active or all((one.index, one.volume.id) != (disk, volume.id) for one in guest.inside):
            return False
        flatten_open_volume(self._shelf, volume)
        told(volume.size, volume.size)
        return True

    async def describe(self, instance: str) -> tuple[str, str]:
        guest = self._must_find(instance)
        check(
            guest.state == RUNNING, Refused("it does not run, or is paused", f"instance {instance}", "see: covey instance info")
        )
        return json.dumps(encode(guest)), self._accelerator

    async def migrate(self, instance: str, passage: Passage, wish: Wish, told: Told) -> Moved:
        """As the real one: it stands still here before it can run there, and is gone from here only when it does."""
        memory = self._must_find(instance).domain.memory
        told(f"{humane_size(memory)} left", 0, memory)
        control = await passage.pipe(CONTROL)
        try:
            self._keep(replace(self._must_find(instance), state=PAUSED))
            await control.write(passage.description.encode())
            arrived = await control.read() == ARRIVED
        except Unavailable:
            arrived = await passage.has_arrived()
        finally:
            await control.close()
        if not arrived:
            self._keep(replace(self._must_find(instance), state=RUNNING))
            raise StepFailed("it was not moved: the other machine gave up", f"instance {instance}")
        self._keep(self._must_find(instance).ended(COVEY))
        return Moved(memory, 1.0, 0.1)

    async def admit(self, offer: Offer, attachments: dict[str, Attachment]) -> str:
        check(
            offer.processor == self._accelerator,
            Refused("its processor has what this machine's lacks", f"instance {offer.domain.instance}"),
        )
        guest = decode(_Guest, json.loads(offer.description))
        self._check_memory(guest)
        mine = self._must_find(offer.domain.instance)
        return json.dumps(
            encode(replace(guest, domain=mine.domain, job=mine.job, generation=offer.generation, inside=mine.domain.disks))
        )

    async def connect(self, instance: str, kind: str) -> Pipe:
        return _FakeArrival(lambda text: self._arrive(decode(_Guest, json.loads(text))))

    def _arrive(self, guest: _Guest) -> None:
        self._check_answers()
        self._keep(replace(guest, state=RUNNING, reason="", pid=self._next_pid()))

    async def ensure_settled(self, instance: str) -> None:
        self._check_answers()

    async def domains(self) -> tuple[FoundDomain, ...]:
        self._check_answers()
        return tuple(_found(guest) for guest in self._guests())

    async def domain(self, instance: str) -> FoundDomain | None:
        guest = self._find(instance)
        return _found(guest) if guest else None

    async def drifts(self) -> dict[str, Drift]:
        return {guest.domain.instance: Drift((guest.tampered,)) for guest in self._guests() if guest.tampered}

    async def usage(self) -> tuple[Usage, ...]:
        self._check_answers()
        return tuple(Usage(guest.domain.instance, 1.0, guest.domain.memory, BOOTED) for guest in self._guests() if guest.active)

    async def taps(self, bridge: str) -> tuple[str, ...]:
        self._check_answers()
        guests = [guest for guest in self._guests() if guest.active]
        return tuple(
            tap_of(guest.domain.instance, nic.index) for guest in guests for nic in guest.plugged if nic.bridge == bridge
        )

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._subscribers.append(changed)

    def console(self, instance: str) -> Path:
        return self._nowhere(instance, "console.sock")

    def console_log(self, instance: str) -> Path:
        return self._nowhere(instance, "console.log")

    def ready_channel(self, instance: str) -> Path:
        return self._nowhere(instance, "ready.sock")

    async def close(self) -> None:
        self._subscribers.clear()

    # What a test does to the pretended machine

    def crash(self, instance: str) -> None:
        """The guest's QEMU dies."""
        self._end(instance, CRASHED)

    def guest_shutdown(self, instance: str) -> None:
        """The guest's own user shuts it down."""
        self._end(instance, GUEST)

    def pause(self, instance: str) -> None:
        """The guest is halted where it stands, as by a full pool."""
        self._keep(replace(self._must_find(instance), state=PAUSED))

    def power_loss(self) -> None:
        """The machine lost its power: all guests are dead."""
        for guest in self._guests():
            if guest.active:
                self._end(guest.domain.instance, CRASHED)

    def deafen(self, instance: str) -> None:
        """The guest no longer hears the power button."""
        self._keep(replace(self._must_find(instance), deaf=True))

    def cling(self, instance: str) -> None:
        """The guest no longer lets go of a disk."""
        self._keep(replace(self._must_find(instance), clinging=True))

    def remove_agent(self, instance: str) -> None:
        """The guest's own agent is not there any more."""
        self._keep(replace(self._must_find(instance), agentless=True))

    def tamper(self, instance: str, what: str) -> None:
        """Somebody changes its definition by hand."""
        self._keep(replace(self._must_find(instance), tampered=what))

    def plant_foreign(self, instance: str) -> None:
        """Somebody else's domain has that UUID."""
        self._shelf.put(_FOREIGN + instance, {})

    def report(self, instance: str) -> GuestReport | None:
        """What the guest would say on its ready channel, at once after its start; None when it does not run."""
        guest = self._find(instance)
        if guest is None or guest.state != RUNNING:
            return None
        return GuestReport(f"{instance}/{guest.generation}/{guest.pid}", (), "done", 1.0)

    def _end(self, instance: str, reason: str) -> None:
        guest = self._must_find(instance)
        check(guest.active, Refused("it does not run", f"instance {instance}"))
        self._keep(guest.ended(reason))

    def _check_answers(self) -> None:
        check(self.answers, Unavailable("libvirt does not answer: it pretends to be down", "libvirt", "let it answer again"))

    def _check_memory(self, guest: _Guest) -> None:
        if self._memory is None:
            return  # nor is there anything to add up
        used = sum(other.domain.memory for other in self._guests() if other.active)
        free = self._memory - used
        check(
            guest.domain.memory <= free,
            NoSpace(
                f"this machine has no memory for it: {humane_size(guest.domain.memory)} asked, {humane_size(free)} free",
                f"instance {guest.domain.instance}",
                "use a smaller --memory, or stop another instance",
            ),
        )

    def _guests(self) -> list[_Guest]:
        return [decode(_Guest, thing) for _, thing in self._shelf.items(_DOMAIN)]

    def _find(self, instance: str) -> _Guest | None:
        self._check_answers()
        check_uuid(instance, "instance")
        check(
            self._shelf.get(_FOREIGN + instance) is None,
            Refused(
                "libvirt has a domain of that UUID which Covey did not make",
                f"instance {instance}",
                "undefine it if it is of no use",
            ),
        )
        thing = self._shelf.get(_DOMAIN + instance)
        return decode(_Guest, thing) if thing else None

    def _must_find(self, instance: str) -> _Guest:
        return require(
            self._find(instance), NotFound("the hypervisor has no such domain", f"instance {instance}", "define it first")
        )

    def _keep(self, guest: _Guest) -> None:
        key, thing = _DOMAIN + guest.domain.instance, encode(guest)
        if self._shelf.get(key) != thing:
            self._shelf.put(key, thing)
            self._tell(guest.domain.instance)

    def _tell(self, instance: str) -> None:
        for changed in self._subscribers:
            changed(instance)

    def _next_pid(self) -> int:
        pid = int((self._shelf.get(_COUNTER) or {"last": 10_000})["last"]) + 1
        self._shelf.put(_COUNTER, {"last": pid})
        return pid

    def _nowhere(self, instance: str, name: str) -> Path:
        """A pretended guest has no sockets: whoever connects is told that it does not run."""
        return Path("/nonexistent/covey-fake", check_uuid(instance, "instance"), name)


class _FakeArrival:
    """What takes a pretended guest in: it runs as soon as it has come, and that is said."""

    def __init__(self, arrive: Callable[[bytes], None]) -> None:
        self._arrive = arrive
        self._said = asyncio.Event()

    async def read(self) -> bytes:
        await self._said.wait()
        return ARRIVED

    async def write(self, data: bytes) -> None:
        self._arrive(data)
        self._said.set()

    async def end(self) -> None: ...

    async def close(self) -> None: ...


class FakeReadyListener:
    """What ReadyListener is for real guests: every followed guest that runs has reported at once, once a run."""

    def __init__(self, hypervisor: FakeHypervisor, reported: Reported) -> None:
        self._hypervisor = hypervisor
        self._reported = reported
        self._heard: dict[str, str] = {}

    def follow(self, running: Iterable[str]) -> None:
        wanted = sorted(set(running))
        self._heard = {instance: boot for instance, boot in self._heard.items() if instance in wanted}
        for instance in wanted:
            report = self._hypervisor.report(instance)
            if report and self._heard.get(instance) != report.boot:
                self._heard[instance] = report.boot
                self._reported(instance, report)

    async def close(self) -> None:
        self._heard.clear()


def _grown(disks: tuple[DomainDisk, ...], index: int, size: int) -> tuple[DomainDisk, ...]:
    return tuple(
        replace(disk, volume=replace(disk.volume, size=max(size, disk.volume.size))) if disk.index == index else disk
        for disk in disks
    )


def _found(guest: _Guest) -> FoundDomain:
    return FoundDomain(
        instance=guest.domain.instance,
        state=guest.state,
        reason=guest.reason,
        generation=guest.generation,
        job=guest.job,
        pid=guest.pid,
        definition=digest(guest.domain),
        disks=tuple(disk.volume.id for disk in (guest.inside if guest.active else guest.domain.disks)),
        nics=guest.plugged if guest.active else guest.domain.nics,
        live=guest.live,
        title=guest.domain.title,
    )
