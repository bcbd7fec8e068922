"""A machine of the lab: booted under QEMU from an image that stays as it is, driven by its guest agent, ended like by a power cut."""

from __future__ import annotations

import asyncio
import signal
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from covey.base.errors import StepFailed, Unavailable
from covey.base.run import Completed, explain, run
from covey.host.threads import in_thread
from covey.lab.guest_agent import GuestAgent
from covey.lab.image import MachineImage

EMULATOR = "/usr/bin/qemu-system-x86_64"
# Without SVM, on purpose: QEMU 7.2 ends itself by an assertion when several emulated processors use it at once. And as an Intel:
# Linux does not trust the clock of several emulated AMDs, and asks a slower one.
PROCESSOR = "Nehalem"
BOOT_LIMIT_S = 600.0
LOOK_AGAIN_S = 0.3
ANSWER_LIMIT_S = 3.0
LOST_LIMIT_S = 30.0  # what a machine has not answered by then was asked of it as it went down, and never will be
COMMAND_LIMIT_S = 300.0
END_LIMIT_S = 20.0
SETTLED = ("running", "degraded")  # what `systemctl is-system-running` says of a machine that has booted
# mitigations=off: emulated processors leak nothing, and pay for the care.
KERNEL_WORDS = "rw console=ttyS0 quiet loglevel=3 mitigations=off net.ifnames=0 systemd.show_status=0 audit=0"


@dataclass(slots=True)
class Machine:
    """One machine, its files in `directory` (short: it holds sockets). What is handed in is on its second disk, as tar(1) reads it."""

    image: MachineImage
    directory: Path
    memory: int = 1536 * 2**20  # bytes
    cpus: int = 2
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def console(self) -> Path:
        """What its kernel and services have printed."""
        return self.directory / "console.log"

    @property
    def agent(self) -> GuestAgent:
        return GuestAgent(self.directory / "agent.sock")

    async def start(self, handed_in: Iterable[Path] = ()) -> None:
        """Power on, and wait until it has booted. `handed_in` are files that it finds in /root. Raises StepFailed with the console's
        last words."""
        await in_thread(_pack, self.directory / "hand.tar", list(handed_in))
        disk = self.directory / "root.qcow2"
        if not disk.exists():
            backing = ("-F", "raw", "-b", str(self.image.disk))
            await run(("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk)), timeout_s=30, object=disk)
        with (self.directory / "qemu.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await self._booted(former="")
        await self.do("tar", "-xf", "/dev/vdb", "-C", "/root")

    async def reboot(self) -> None:
        """As an admin orders it; returns when it has booted again."""
        former = await self.boot_id()
        with suppress(StepFailed, Unavailable):  # it may be down before it can say that it goes
            await self.run("systemctl", "--no-block", "reboot", within=LOST_LIMIT_S)
        await self._booted(former)

    async def end(self) -> None:
        """The power is cut; its disk stays. May be called twice."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            async with asyncio.timeout(END_LIMIT_S):
                await self._process.wait()
        self._process = None

    async def run(self, *argv: str, within: float = COMMAND_LIMIT_S) -> Completed:
        """Run a program in it, as root, without a terminal."""
        return await self.agent.run("/usr/bin/env", "HOME=/root", "LANG=C.UTF-8", *argv, within=within)

    async def do(self, *argv: str, within: float = COMMAND_LIMIT_S) -> str:
        """Run a program that must succeed; what it printed. Raises StepFailed with what it said."""
        done = await self.run(*argv, within=within)
        if done.status != 0:
            raise StepFailed(explain(argv, done.status, done.stdout[-2000:] + done.stderr), f"machine at {self.directory}")
        return done.text

    async def boot_id(self, within: float = COMMAND_LIMIT_S) -> str:
        return (await self.do("cat", "/proc/sys/kernel/random/boot_id", within=within)).strip()

    async def _booted(self, former: str) -> None:
        """Wait until another boot than `former` has settled."""
        deadline = asyncio.get_running_loop().time() + BOOT_LIMIT_S
        while not await self._has_booted(former):
            if self._process is None or self._process.returncode is not None:
                raise StepFailed(
                    f"QEMU ended: {(self.directory / 'qemu.log').read_text()[-500:]}", f"machine at {self.directory}"
                )
            if asyncio.get_running_loop().time() > deadline:
                last = self.console.read_bytes()[-1500:].decode(errors="replace")
                raise StepFailed(f"it has not booted within {BOOT_LIMIT_S:g} s: {last}", f"machine at {self.directory}")
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _has_booted(self, former: str) -> bool:
        if not await self.agent.answers(ANSWER_LIMIT_S):
            return False
        with suppress(StepFailed, Unavailable):
            settled = (await self.run("systemctl", "is-system-running", within=LOST_LIMIT_S)).text.strip() in SETTLED
            return settled and await self.boot_id(LOST_LIMIT_S) != former
        return False

    def _command(self) -> Sequence[str]:
        within = self.directory
        return (
            *(EMULATOR, "-name", within.name, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR),
            *("-smp", str(self.cpus), "-m", f"{self.memory >> 20}M", "-display", "none", "-nodefaults", "-no-user-config"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs), "-append", KERNEL_WORDS),
            *("-drive", f"file={within}/root.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
            *("-drive", f"file={within}/hand.tar,if=virtio,format=raw,readonly=on"),
            *("-serial", f"file:{self.console}", "-device", "virtio-rng-pci", "-device", "virtio-serial"),
            *("-chardev", f"socket,path={within}/agent.sock,server=on,wait=off,id=agent"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        )


def _pack(archive: Path, files: Sequence[Path]) -> None:
    with tarfile.open(archive, "w") as tar:
        for file in files:
            tar.add(file, file.name)
