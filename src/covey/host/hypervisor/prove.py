"""Does KVM work here? A file named /dev/kvm proves nothing (it may be closed, or hang, as under some other hypervisors): only a guest
that has really run under it does."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from covey.base.errors import BadInput, Refused, StepFailed, Unavailable
from covey.base.run import run
from covey.host.hypervisor.sector import Sector

EMULATOR = "/usr/bin/qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
WORD = "COVEY-KVM-RUNS"
MACHINE = "q35"
DISK_SIZE = 2**20  # SeaBIOS boots nothing of less than a cylinder
SLACK_S = 5.0  # for ending a QEMU that hangs
AUTO, KVM, TCG = "auto", "kvm", "tcg"


async def prove_accelerator(wanted: str, timeout_s: float, user: str = "") -> tuple[str, str]:
    """The accelerator that works and a sentence why; see Hypervisor.prove. With `user`, the guest runs as QEMU will: as that user, in
    the group kvm, so that a device closed to it is found here and not at the first start."""
    if wanted not in (AUTO, KVM, TCG):
        raise BadInput(f"{wanted!r} is no accelerator", "", "use auto, kvm or tcg")
    if wanted == TCG:
        return TCG, "tcg was asked for: guests are emulated"
    obstacle = await find_obstacle(timeout_s, user)
    if not obstacle:
        return KVM, "a guest ran under KVM"
    if wanted == KVM:
        raise Refused(f"KVM does not work: {obstacle}", "accelerator kvm", "use tcg (slow, for trials), or enable virtualisation")
    return TCG, f"KVM does not work, so guests are emulated and slow: {obstacle}"


async def find_obstacle(timeout_s: float, user: str = "", accelerator: str = KVM) -> str:
    """Why no guest runs under `accelerator`, "" when one did within `timeout_s` seconds."""
    if accelerator == KVM and not DEVICE.exists():
        return f"there is no {DEVICE} (virtualisation is off in the firmware, or this machine is itself virtual)"
    with tempfile.TemporaryDirectory(prefix="covey-prove-") as directory:
        disk = Path(directory, "disk.raw")
        disk.write_bytes(proof_sector().ljust(DISK_SIZE, b"\0"))
        Path(directory).chmod(0o755)
        if user:
            shutil.chown(disk, user)  # QEMU opens it for writing, too
        command = [*_as_user(user), *_guest(accelerator, disk)]
        try:
            # run() kills QEMU at its time limit and then waits for its end; a kernel that does not let it go must not hold us too.
            async with asyncio.timeout(timeout_s + SLACK_S):
                done = await run(command, timeout_s=timeout_s, check=False, object=f"accelerator {accelerator}")
        except StepFailed:
            return f"a guest of a few instructions said nothing within {timeout_s:g} s"
        except TimeoutError:
            return f"a guest of a few instructions hung, and its QEMU cannot be ended: {EMULATOR} may remain in the kernel"
        except Unavailable as error:
            return error.what
    if WORD in done.text:
        return ""
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return words[-1] if words else f"QEMU ended with status {done.status} and the guest said nothing"


def proof_sector() -> bytes:
    """A guest that says its word on the serial port and powers itself off."""
    return Sector().print("word").power_off().halt().serial().text("word", WORD.encode() + b"\n").finished()


def _guest(accelerator: str, disk: Path) -> list[str]:
    return [
        EMULATOR,
        *("-machine", MACHINE, "-accel", accelerator, "-m", "16", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-drive", f"file={disk},format=raw,media=disk"),
    ]


def _as_user(user: str) -> list[str]:
    return ["setpriv", f"--reuid={user}", "--regid=kvm", "--clear-groups"] if user not in ("", "root") else []
