"""The hypervisor that is libvirt with QEMU. It and its neighbours connection.py, sighting.py and orders.py alone know libvirt."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from covey.base.errors import CoveyError, NoSpace, NotFound, Refused, StepFailed
from covey.base.files import sync_directory
from covey.host.guest.console import trim_log
from covey.host.hypervisor import orders, runs, sighting
from covey.host.hypervisor.connection import CALL_LIMIT_S, Connection, Event
from covey.host.hypervisor.definition import digest
from covey.host.hypervisor.places import GuestFiles, LibvirtFiles, check_directory, guest_files, seed_beside
from covey.host.hypervisor.protocol import Usage
from covey.host.hypervisor.prove import prove_accelerator
from covey.host.hypervisor.runs import Run, Words
from covey.host.hypervisor.sighting import Sighting
from covey.host.hypervisor.xml import render_domain
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, FoundDomain
from covey.model.names import check_uuid

T = TypeVar("T")

START_LIMIT_S = 120.0
CUT_LIMIT_S = 60.0  # libvirt sends QEMU SIGTERM, then SIGKILL, and waits for its end
ENDING_LIMIT_S = 20.0  # between a guest's power-off and QEMU's end
BUTTON_EVERY_S = 3.0  # a guest that is still booting misses the power button
LOOK_EVERY_S = 0.5  # between looks, should an event be lost


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
        self._locks: dict[str, asyncio.Lock] = {}
        self._subscribers: list[Callable[[str], None]] = []
        self._bells: set[asyncio.Event] = set()
        self._settling: set[asyncio.Task[None]] = set()

    # Asking

    async def prove(self, wanted: str, timeout_s: float) -> tuple[str, str]:
        return await prove_accelerator(wanted, timeout_s, self._user)

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

    async def usage(self) -> tuple[Usage, ...]:
        return await self._call("", sighting.usage)

    async def taps(self, bridge: str) -> tuple[str, ...]:
        return await self._call("", lambda connection: sighting.taps(connection, bridge))

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

    # Defining

    async def ensure_defined(self, domain: Domain, attachments: dict[str, Attachment], job: str) -> None:
        async with self._lock(domain.instance):
            known = await self._call(domain.instance, lambda connection: sighting.find_mark(connection, domain.instance))
            if known and known.digest == digest(domain):
                return
            files = self._files(domain.instance)
            generation, tag = (known.generation, known.job) if known else (0, job)
            text = render_domain(domain, attachments, generation, tag, files)
            await asyncio.to_thread(_make_directories, files, self._user)
            await self._call(domain.instance, lambda connection: orders.define(connection, domain.instance, text))
            await asyncio.to_thread(sync_directory, self._libvirt.definitions / "qemu")

    async def ensure_absent(self, instance: str, job: str = "") -> None:
        async with self._lock(instance):
            if await self._call(instance, lambda connection: orders.undefine(connection, instance, job)):
                await asyncio.to_thread(self._remove_files, instance)

    # Running

    async def ensure_running(self, instance: str, generation: int) -> int:
        async with self._lock(instance):
            return await self._run(instance, generation)

    async def ensure_generation(self, instance: str, generation: int, graceful_s: float) -> int:
        async with self._lock(instance):
            seen = await self._look(instance)
            if seen and seen.active and seen.generation < generation:
                await self._stop(instance, graceful_s)
            return await self._run(instance, generation)

    async def ensure_stopped(self, instance: str, graceful_s: float) -> bool:
        async with self._lock(instance):
            return await self._stop(instance, graceful_s)

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

    async def _stop(self, instance: str, graceful_s: float) -> bool:
        """See ensure_stopped."""
        seen = await self._look(instance)
        if seen is None:
            return False
        if not seen.active:
            await self._write_run(instance, seen.told)
            return False
        await self._write_run(instance, seen.told.about_to_stop())
        # A paused guest would hear the button only after it is resumed: there is nothing to wait for.
        cut = seen.paused or not await self._until(instance, graceful_s, _ended, orders.press_button)
        if cut:
            await self._order(instance, orders.cut, CUT_LIMIT_S)
        await self._write_run(instance, seen.told.ended(runs.COVEY))
        return cut

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

    # Disks

    async def ensure_attached(self, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
        async with self._lock(instance):
            await self._call(instance, lambda connection: orders.attach(connection, instance, disk, attachment))

    async def ensure_detached(self, instance: str, disk: int, timeout_s: float) -> None:
        async with self._lock(instance):
            gone = await self._call(instance, lambda connection: orders.ask_to_let_go(connection, instance, disk))
            if not gone and not await self._until(
                instance, timeout_s, lambda connection, which: orders.has_let_go(connection, which, disk)
            ):
                raise Refused(
                    f"the guest did not let go of disk {disk} within {timeout_s:g} s",
                    f"instance {instance}",
                    "unmount it in the guest and try again, or stop the instance first",
                )
            await self._call(instance, lambda connection: orders.detach_from_definition(connection, instance, disk))

    async def ensure_guest_size(self, instance: str, disk: int, size: int) -> None:
        async with self._lock(instance):
            await self._call(instance, lambda connection: orders.resize(connection, instance, disk, size))

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
