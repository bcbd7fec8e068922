"""The insides of this machine's guests: seeds, readiness and consoles, real and pretended."""

from __future__ import annotations

from pathlib import Path

from covey.base.errors import Unavailable
from covey.host.guest import seed as seeds
from covey.host.guest.console import Consoles, Session
from covey.host.guest.listener import GuestReport, ReadyListener, Reported
from covey.host.guest.output import console_tail
from covey.host.guest.protocol import ConsoleSession
from covey.host.hypervisor.fake import FakeHypervisor
from covey.host.hypervisor.protocol import Hypervisor
from covey.host.shelf import Shelf
from covey.model.seed import Seed


class HostGuests:
    """Real guests: seeds in `directory`, owned by `owner` (whom QEMU runs as)."""

    def __init__(self, hypervisor: Hypervisor, directory: Path, owner: tuple[int, int] | None) -> None:
        self._hypervisor = hypervisor
        self._directory = directory
        self._owner = owner
        self._running: set[str] = set()
        self._subscribers: list[Reported] = []
        self._listener = ReadyListener(hypervisor.ready_channel, self._reported)
        self._consoles = Consoles(hypervisor.console, hypervisor.console_log)

    def seed_path(self, instance: str) -> Path:
        return self._directory / f"{instance}.iso"

    async def ensure_seed(self, seed: Seed, user_data: str) -> None:
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        await seeds.ensure_seed(self.seed_path(seed.instance), seed, user_data, self._owner)

    async def ensure_seed_absent(self, instance: str) -> None:
        await seeds.ensure_seed_absent(self.seed_path(instance))

    async def seeds(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self._directory.glob("*.iso")))

    def subscribe(self, reported: Reported) -> None:
        self._subscribers.append(reported)

    def follow(self, instance: str, running: bool) -> None:
        if running == (instance in self._running):
            return
        (self._running.add if running else self._running.discard)(instance)
        self._listener.follow(self._running)

    async def attach(self, instance: str) -> Session:
        return await self._consoles.attach(instance)

    def console_tail(self, instance: str, size: int) -> bytes:
        return console_tail(self._hypervisor.console_log(instance), size)

    async def close(self) -> None:
        await self._listener.close()
        await self._consoles.close()

    def _reported(self, instance: str, report: GuestReport) -> None:
        for reported in self._subscribers:
            reported(instance, report)


class FakeGuests:
    """Pretended guests report that they are ready as soon as they run; nobody can sit at their console."""

    def __init__(self, hypervisor: FakeHypervisor, shelf: Shelf) -> None:
        self._hypervisor = hypervisor
        self._shelf = shelf
        self._subscribers: list[Reported] = []
        self._told: dict[str, GuestReport] = {}

    async def ensure_seed(self, seed: Seed, user_data: str) -> None:
        self._shelf.put(f"seed/{seed.instance}", {"hostname": seed.hostname, "user_data": user_data})

    async def ensure_seed_absent(self, instance: str) -> None:
        self._shelf.delete(f"seed/{instance}")

    async def seeds(self) -> tuple[str, ...]:
        return tuple(key.removeprefix("seed/") for key, _ in self._shelf.items("seed/"))

    def subscribe(self, reported: Reported) -> None:
        self._subscribers.append(reported)

    def follow(self, instance: str, running: bool) -> None:
        report = self._hypervisor.report(instance) if running else None
        if report is None:
            self._told.pop(instance, None)
        elif self._told.get(instance) != report:
            self._told[instance] = report
            for reported in self._subscribers:
                reported(instance, report)

    async def attach(self, instance: str) -> ConsoleSession:
        raise Unavailable("a pretended guest has no console", f"instance {instance}", "use real hosts")

    def console_tail(self, instance: str, size: int) -> bytes:
        return b""

    async def close(self) -> None:
        return None
