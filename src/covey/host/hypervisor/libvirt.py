"""The hypervisor that is libvirt with QEMU. It and its neighbours connection.py, sighting.py and orders.py alone know libvirt."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from covey.base.errors import CoveyError, NoSpace, NotFound, Refused, StepFailed, Unavailable, check
from covey.base.files import sync_directory
from covey.host.guest.console import trim_log
from covey.host.hypervisor import departing, guest_agent, layers, orders, picture, runs, shaping, sighting, variables
from covey.host.hypervisor.connection import CALL_LIMIT_S, Connection, Event
from covey.host.hypervisor.definition import FORM, Mark, digest
from covey.host.hypervisor.destined import destined
from covey.host.hypervisor.file_io import find_file_io
from covey.host.hypervisor.moves import Moves
from covey.host.hypervisor.places import GuestFiles, LibvirtFiles, check_directory, guest_files, seed_beside
from covey.host.hypervisor.protocol import Usage
from covey.host.hypervisor.prove import KVM, TCG, prove_accelerator
from covey.host.hypervisor.runs import Run, Words
from covey.host.hypervisor.sighting import Sighting
from covey.host.hypervisor.xml import OVMF_CODE, printable, render_domain
from covey.host.migration.protocol import Moved, Offer, Passage, Pipe, Told, Wish
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, DomainNic, Drift, FoundDomain
from covey.model.machine import Capabilities
from covey.model.names import check_uuid
from covey.model.pool import Volume
from covey.model.shape import Shape, at_once, shape_of

T = TypeVar("T")

START_LIMIT_S = 120.0
CUT_LIMIT_S = 60.0  # libvirt sends QEMU SIGTERM, then SIGKILL, and waits for its end
ENDING_LIMIT_S = 20.0  # between a guest's power-off and QEMU's end
BUTTON_EVERY_S = 3.0  # a guest that is still booting misses the power button
TAKES_S = 10.0  # what a guest gets to take memory, or to give it back
MOST_ASKING = 6  # questions to guests at once: fewer than the connection's threads
ASK_QUEUE_S = 10.0
ASK_MARGIN_S = 15.0  # libvirt greets the agent before it asks, and may do so twice
LOOK_EVERY_S = 0.5  # between looks, should an event be lost
OVERLAY_LIMIT_S = 60.0  # for a guest's agent, and for its disks
MERGE_LOOK_S = 0.2  # between looks at a merge


class LibvirtHypervisor:
    """`directory` keeps what Covey knows and opens of each guest (sockets, console log, how its run went) and must outlive a reboot;
    `files` tells where libvirtd keeps its own, `seed` where a guest's cloud-init seed is, `user` whom QEMU runs as.
    Raises Refused when `directory` has too long a path for sockets."""

    def __init__(
        self,
        uri: str,
        directory: Path,
        *,
        files: LibvirtFiles | None = None,
        seed: Callable[[str], Path] | None = None,
        user: str = "libvirt-qemu",
    ) -> None:
        check_directory(directory)
        self._directory = directory
        self._libvirt = files or LibvirtFiles()
        self._seed = seed or seed_beside(directory)
        self._user = user
        self._connection = Connection(uri, self._heard, self._tell)
        self._guest_connection = Connection(uri, lambda _: None, lambda: None)
        self._asking = asyncio.Semaphore(MOST_ASKING)
        self._moves = Moves(uri, self._libvirt.runtime, user, self._order)
        self._locks: dict[str, asyncio.Lock] = {}
        self._subscribers: list[Callable[[str], None]] = []
        self._bells: set[asyncio.Event] = set()
        self._settling: set[asyncio.Task[None]] = set()

    # Asking

    async def prove(self, wanted: str, timeout_s: float) -> tuple[str, str]:
        return await prove_accelerator(wanted, timeout_s, self._user)

    async def capabilities(self, machine: str) -> Capabilities:
        models = await self._call(
            "", lambda connection: {which: sighting.cpu_models(connection, which, machine) for which in (TCG, KVM)}
        )
        return Capabilities(models, ("bios", "uefi") if Path(OVMF_CODE).exists() else ("bios",))

    async def domains(self) -> tuple[FoundDomain, ...]:
        seen = await self._call("", lambda connection: sighting.look_at_all(connection, self._run_of, self._words_of))
        for one in seen:
            await self._settle(one)
            await asyncio.to_thread(trim_log, self.console_log(one.instance))
        return tuple(sighting.found_domain(one, self._libvirt.runtime) for one in seen)

    async def domain(self, instance: str) -> FoundDomain | None:
        seen = await self._look(instance)
        if seen is None:
            return None
        await self._settle(seen)
        return sighting.found_domain(seen, self._libvirt.runtime)

    async def drifts(self) -> dict[str, Drift]:
        return await self._call("", lambda connection: sighting.drifts(connection, self._files))

    async def usage(self) -> tuple[Usage, ...]:
        return await self._call("", sighting.usage)

    async def taps(self, bridge: str) -> tuple[str, ...]:
        return await self._call("", lambda connection: sighting.taps(connection, bridge))

    async def screenshot(self, instance: str) -> bytes:
        return await self._order(instance, picture.take)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._subscribers.append(changed)

    def console(self, instance: str) -> Path:
        return self._files(instance).console

    def console_log(self, instance: str) -> Path:
        return self._files(instance).console_log

    def ready_channel(self, instance: str) -> Path:
        return self._files(instance).ready

    async def close(self) -> None:
        for task in tuple(self._settling):
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self._connection.close()
        await self._guest_connection.close()

    # Defining

    async def ensure_defined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> None:
        async with self._lock(domain.instance):
            await self._define(domain, attachments, job)

    async def ensure_redefined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> Shape | None:
        instance, wanted = domain.instance, shape_of(domain)
        async with self._lock(instance):
            await self._define(domain, attachments, job)
            seen = await self._look(instance)
            if seen is None or seen.live is None:
                return None
            target = at_once(seen.live, wanted)
            has, title = seen.live, printable(domain.title)
            iso = attachments[target.iso].path if target.iso else ""
            await self._call(instance, lambda connection: shaping.reshape(connection, instance, has, target, title, iso))
            if target.memory != has.memory:
                await self._until(instance, TAKES_S, lambda connection, which: shaping.has_memory(connection, which, target))
            seen = await self._look(instance)
            return seen.live if seen else None

    async def _define(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> None:
        """See ensure_defined."""
        known = await self._call(domain.instance, lambda connection: sighting.find_mark(connection, domain.instance))
        files = self._files(domain.instance)
        as_today = known is not None and (known.form, known.digest) == (FORM, digest(domain))
        if as_today and not await self._is_tampered(domain.instance):
            return
        text = self._rendered(domain, attachments, known, job)
        await asyncio.to_thread(_make_directories, files, self._user)
        if domain.firmware == "uefi":
            await asyncio.to_thread(variables.bring_back, files)
        await self._call(domain.instance, lambda connection: orders.define(connection, domain.instance, text))
        await asyncio.to_thread(sync_directory, self._libvirt.definitions / "qemu")

    async def _is_tampered(self, instance: str) -> bool:
        drift = await self._call(instance, lambda connection: sighting.drift_of(connection, instance, self._files(instance)))
        return bool(drift.definition)

    def _rendered(self, domain: Domain, attachments: dict[str, Attachment], known: Mark | None, job: str) -> str:
        generation, tag = (known.generation, known.job) if known else (0, job)
        return render_domain(domain, attachments, generation, tag, self._files(domain.instance), find_file_io())

    async def ensure_absent(self, instance: str, job: str = "", keep_variables: bool = False) -> None:
        files = self._files(instance)
        async with self._lock(instance):
            if keep_variables:
                await asyncio.to_thread(variables.keep, files)  # first: libvirt removes them with the definition
            if await self._call(instance, lambda connection: orders.undefine(connection, instance, job)):
                await asyncio.to_thread(self._remove_files, instance)
            if not job and not keep_variables:
                await asyncio.to_thread(variables.forget, files)

    # Running

    async def ensure_running(self, instance: str, generation: int) -> int:
        async with self._lock(instance):
            return await self._run(instance, generation)

    async def ensure_generation(self, instance: str, generation: int) -> int:
        async with self._lock(instance):
            seen = await self._look(instance)
            if seen and seen.active and seen.generation < generation:
                await self._cut(instance)
            return await self._run(instance, generation)

    async def ensure_stopped(self, instance: str) -> bool:
        async with self._lock(instance):
            return await self._cut(instance)

    async def ensure_asked_to_stop(self, instance: str, graceful_s: float) -> bool:
        async with self._lock(instance):
            seen = await self._look(instance)
            if seen is None or not seen.active:
                return True
            await self._write_run(instance, seen.told.about_to_stop())
            # A paused guest would hear the button only after it is resumed: there is nothing to wait for.
            stopped = not seen.paused and await self._until(instance, graceful_s, _ended, orders.press_button)
            if stopped:
                await self._write_run(instance, seen.told.ended(runs.COVEY))
            return stopped

    async def _run(self, instance: str, generation: int) -> int:
        """See ensure_running. What is about to happen is written down before it does: see runs.py."""
        seen = await self._look(instance)
        if seen and seen.ending:
            await self._until(instance, ENDING_LIMIT_S, _ended)
            seen = await self._look(instance)
        if seen is None:
            raise NotFound("the hypervisor has no such domain", f"instance {instance}", "define it first")
        if seen.active:
            await self._write_run(instance, seen.told.seen_running(seen.generation))
            if seen.paused:
                await self._order(instance, orders.resume)
            return sighting.read_pid(self._libvirt.runtime, instance)
        before = seen.told
        await self._write_run(instance, before.about_to_start(generation))
        try:
            await self._call(instance, lambda connection: orders.start(connection, instance, generation), START_LIMIT_S)
        except (StepFailed, NoSpace):
            await self._write_run(instance, before.not_started())
            raise
        await self._write_run(instance, before.seen_running(generation))
        return sighting.read_pid(self._libvirt.runtime, instance)

    async def _cut(self, instance: str) -> bool:
        """See ensure_stopped."""
        seen = await self._look(instance)
        if seen is None:
            return False
        if not seen.active:
            await self._write_run(instance, seen.told)
            return False
        await self._write_run(instance, seen.told.about_to_stop())
        await self._order(instance, orders.cut, CUT_LIMIT_S)
        await self._write_run(instance, seen.told.ended(runs.COVEY))
        return True

    async def _until(
        self,
        instance: str,
        seconds: float,
        reached: Callable[[Any, str], bool],
        nudge: Callable[[Any, str], None] | None = None,
    ) -> bool:
        """Wait until `reached`, looking after each event and now and then, and giving a `nudge` every few seconds. Returns whether it
        was reached in time."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        next_nudge = clock()
        with self._bell() as bell:
            while True:
                bell.clear()
                if await self._order(instance, reached):
                    return True
                if clock() >= deadline:
                    return False
                if nudge and clock() >= next_nudge:
                    await self._order(instance, nudge)
                    next_nudge = clock() + BUTTON_EVERY_S
                try:
                    async with asyncio.timeout(max(0.0, min(LOOK_EVERY_S, deadline - clock()))):
                        await bell.wait()
                except TimeoutError:
                    pass  # look again

    # Disks and NICs

    async def ensure_attached(self, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
        async with self._lock(instance):
            await self._call(instance, lambda connection: orders.attach_disk(connection, instance, disk, attachment))

    async def ensure_detached(self, instance: str, disk: int, timeout_s: float) -> None:
        await self._detach(instance, orders.disk_device(disk), timeout_s, "unmount it in the guest and try again")

    async def ensure_nic_attached(self, instance: str, nic: DomainNic) -> None:
        async with self._lock(instance):
            await self._call(instance, lambda connection: orders.attach_nic(connection, instance, nic))

    async def ensure_nic_set(self, instance: str, nic: DomainNic) -> None:
        async with self._lock(instance):
            await self._call(instance, lambda connection: orders.set_nic(connection, instance, nic))

    async def ensure_nic_detached(self, instance: str, nic: int, timeout_s: float) -> None:
        await self._detach(instance, orders.nic_device(instance, nic), timeout_s, "try again when the guest has booted")

    async def _detach(self, instance: str, device: orders.Device, timeout_s: float, hint: str) -> None:
        async with self._lock(instance):
            gone = await self._call(instance, lambda connection: orders.ask_to_let_go(connection, instance, device))
            if not gone and not await self._until(
                instance, timeout_s, lambda connection, which: orders.has_let_go(connection, which, device)
            ):
                raise Refused(
                    f"the guest did not let go of {device.title} within {timeout_s:g} s",
                    f"instance {instance}",
                    f"{hint}, or stop the instance first",
                )
            await self._call(instance, lambda connection: orders.detach_from_definition(connection, instance, device))

    async def ensure_guest_size(self, instance: str, disk: int, size: int) -> bool:
        async with self._lock(instance):
            return await self._call(instance, lambda connection: orders.resize(connection, instance, disk, size))

    # Within the guest

    async def ask_guest(self, instance: str, command: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """On a connection of its own, whose few threads are all that guests which hang can take."""
        seconds = max(1, int(timeout_s))
        try:
            async with asyncio.timeout(ASK_QUEUE_S):
                await self._asking.acquire()
        except TimeoutError as error:
            raise Unavailable("too many guests hang already", f"instance {instance}", "try again in a moment") from error
        try:
            return await self._guest_connection.call(
                lambda connection: guest_agent.ask(connection, instance, command, arguments, seconds), seconds + ASK_MARGIN_S
            )
        finally:
            self._asking.release()

    # Layers

    async def ensure_overlaid(self, domain: Domain, attachments: dict[str, Attachment]) -> bool:
        async with self._lock(domain.instance):
            rests = await self._call(
                domain.instance, lambda connection: layers.overlay(connection, domain, attachments), OVERLAY_LIMIT_S
            )
            await self._define(domain, attachments, "")
            return rests

    async def ensure_merged(
        self,
        domain: Domain,
        disk: int,
        top: Volume,
        base: Volume,
        attachments: dict[str, Attachment],
        told: Callable[[int, int], None],
    ) -> bool:
        instance, above, below = domain.instance, attachments[top.id].path, attachments[base.id].path
        begun = False
        while merge := await self._order(
            instance, lambda connection, which: layers.look_at_merge(connection, which, disk, above, below)
        ):
            if not merge.busy and not merge.has_top:
                return merge.has_base and await self._merged(domain, attachments)
            check(merge.busy or not begun, StepFailed(f"QEMU gave up merging layers of disk {disk}", f"instance {instance}"))
            told(merge.done, merge.total)
            async with self._lock(instance):
                if merge.ready:
                    await self._let_go_of_top(domain, disk, attachments)
                elif not merge.busy:
                    await self._order(
                        instance, lambda connection, which: layers.begin_merge(connection, which, disk, above, below)
                    )
            begun = True
            await asyncio.sleep(0 if merge.ready else MERGE_LOOK_S)
        return False

    async def ensure_flat(
        self, instance: str, disk: int, volume: Volume, attachment: Attachment, told: Callable[[int, int], None]
    ) -> bool:
        begun = False
        while pull := await self._order(
            instance, lambda connection, which: layers.look_at_pull(connection, which, disk, attachment.path)
        ):
            if pull.is_flat and not pull.busy:
                return True
            check(pull.busy or not begun, StepFailed(f"QEMU gave up copying into disk {disk}", f"instance {instance}"))
            told(pull.done, pull.total)
            if not pull.busy:
                async with self._lock(instance):
                    await self._order(instance, lambda connection, which: layers.begin_pull(connection, which, disk))
            begun = True
            await asyncio.sleep(MERGE_LOOK_S)
        return False

    async def _let_go_of_top(self, domain: Domain, disk: int, attachments: dict[str, Attachment]) -> None:
        text = self._rendered(domain, attachments, await self._order(domain.instance, sighting.find_mark), "")
        await self._order(
            domain.instance, lambda connection, which: layers.let_go_of_top(connection, which, disk, text), CUT_LIMIT_S
        )

    async def _merged(self, domain: Domain, attachments: dict[str, Attachment]) -> bool:
        """The end of a merge; an earlier try may have died before it let the guest go on."""
        async with self._lock(domain.instance):
            await self._define(domain, attachments, "")
            seen = await self._look(domain.instance)
            if seen and seen.paused:
                await self._order(domain.instance, orders.resume)
        return True

    # Moving

    async def describe(self, instance: str) -> tuple[str, str]:
        return await self._order(instance, departing.describe)

    async def migrate(self, instance: str, passage: Passage, wish: Wish, told: Told) -> Moved:
        return await self._moves.migrate(instance, passage, wish, told)

    async def admit(self, offer: Offer, attachments: dict[str, Attachment]) -> str:
        instance = offer.domain.instance
        await self._call(
            instance,
            lambda connection: departing.check_processor(connection, offer.description, offer.processor, instance),
        )
        files = self._files(instance)
        await asyncio.to_thread(_make_directories, files, self._user)
        await self._moves.make_way(instance)
        return destined(offer.description, offer.domain, attachments, offer.generation, files, find_file_io())

    async def connect(self, instance: str, kind: str) -> Pipe:
        return await self._moves.connect(instance, kind)

    async def ensure_settled(self, instance: str) -> None:
        await self._moves.settle(instance)

    # Keeping account

    def _heard(self, event: Event) -> None:
        for bell in self._bells:
            bell.set()
        if event.kind == "lifecycle" and event.number == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            task = asyncio.create_task(self._settle_soon(event.instance))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        self._tell(event.instance)

    def _tell(self, instance: str = "") -> None:
        for changed in self._subscribers:
            changed(instance)

    async def _settle_soon(self, instance: str) -> None:
        """Write down how a run ended while libvirt still knows."""
        try:
            seen = await self._look(instance)
            if seen:
                await self._settle(seen)
        except (CoveyError, OSError):
            pass  # not ours, or libvirtd is gone again: whoever asks for domains() next settles it, or is told what is wrong

    async def _settle(self, seen: Sighting) -> None:
        """Write the run down as it must be told, unless somebody is about to change it: then that one does."""
        lock = self._lock(seen.instance)
        if seen.told == seen.run or lock.locked():
            return
        async with lock:
            if await asyncio.to_thread(self._run_of, seen.instance) == seen.run:
                await self._write_run(seen.instance, seen.told)

    @contextmanager
    def _bell(self) -> Iterator[asyncio.Event]:
        """Rings at each event of libvirt's."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    def _lock(self, instance: str) -> asyncio.Lock:
        return self._locks.setdefault(instance, asyncio.Lock())

    def _files(self, instance: str) -> GuestFiles:
        return guest_files(self._directory, check_uuid(instance, "instance"), self._seed(instance))

    def _run_of(self, instance: str) -> Run:
        return runs.read_run(self._files(instance).run)

    def _words_of(self, instance: str) -> Words:
        return runs.last_words(self._log(instance))

    def _log(self, instance: str) -> Path:
        return self._libvirt.logs / "qemu" / f"{instance}.log"

    async def _write_run(self, instance: str, run: Run) -> None:
        path = self._files(instance).run
        if await asyncio.to_thread(runs.read_run, path) != run:
            await asyncio.to_thread(runs.write_run, path, run)

    async def _look(self, instance: str) -> Sighting | None:
        return await self._call(instance, lambda connection: sighting.look(connection, instance, self._run_of, self._words_of))

    async def _order(self, instance: str, order: Callable[[Any, str], T], timeout_s: float = CALL_LIMIT_S) -> T:
        return await self._call(instance, lambda connection: order(connection, instance), timeout_s)

    async def _call(self, instance: str, function: Callable[[Any], T], timeout_s: float = CALL_LIMIT_S) -> T:
        try:
            return await self._connection.call(function, timeout_s)
        except libvirt.libvirtError as error:
            raise orders.failure(error, "libvirt refuses", f"instance {instance}" if instance else "libvirt") from error

    def _remove_files(self, instance: str) -> None:
        files = self._files(instance)
        try:
            shutil.rmtree(files.directory)
        except FileNotFoundError:
            pass  # removed before
        self._log(instance).unlink(missing_ok=True)
        if self._directory.is_dir():
            sync_directory(self._directory)


def _ended(connection: Any, instance: str) -> bool:
    return not sighting.is_active(connection, instance)


def _make_directories(files: GuestFiles, user: str) -> None:
    """The guest's directory may be passed through by everybody and read by root; only the VNC socket is QEMU's own to make."""
    files.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    files.directory.chmod(0o711)
    files.vnc.parent.mkdir(mode=0o700, exist_ok=True)
    account = pwd.getpwnam(user)
    os.chown(files.vnc.parent, account.pw_uid, account.pw_gid)
    sync_directory(files.directory)
    sync_directory(files.directory.parent)
