"""Covey installed from its package on a Debian machine of the lab, which systemd runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from covey.base.run import Completed
from covey.lab.image import MachineImage, MachineRecipe, ensure_image
from covey.lab.machine import Machine
from tests.kit.bootsector import GREETING, ticking, write_image
from tests.kit.covey_up import ROOT, SCRATCH
from tests.kit.eventually import eventually

BUILD_WITHIN_S = 600
INSTALL_WITHIN_S = 900.0
COMMAND_WITHIN_S = 300.0
BEAT_WITHIN_S = 300.0  # a guest is emulated within an emulated machine
UNITS = ("covey-libvirtd", "covey-agent", "covey-controller")
PURGE = ("apt-get", "purge", "--yes", "covey")
DOOR = "127.0.0.1:7443"
TOKEN, AUTHORITY = "/run/look.token", "/run/covey-ca.pem"
# As a Prometheus comes: over TLS, with a token.
METRICS = f"""
import ssl, urllib.request as web
trusted = ssl.create_default_context(cafile="{AUTHORITY}")
asked = web.Request("https://{DOOR}/metrics", headers={{"Authorization": "Bearer " + open("{TOKEN}").read().strip()}})
print(web.urlopen(asked, context=trusted, timeout=60).read().decode())
"""


def make_package(output: Path, version: str, name: str = "covey") -> Path:
    """Build a package of this tree as `version`; where it is."""
    program = str(ROOT / "packaging/deb/make_deb.py")
    words = [sys.executable, program, "--only", name, "--version", version, "--output", str(output)]
    subprocess.run(words, check=True, timeout=BUILD_WITHIN_S, stdout=subprocess.DEVNULL)
    return output / f"{name}_{version}_amd64.deb"


def field(package: Path, name: str) -> str:
    """A field of a package's control file."""
    return subprocess.run(
        ["dpkg-deb", "--field", str(package), name], check=True, timeout=30, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def depends(package: Path) -> tuple[str, ...]:
    """The names of what a package depends on."""
    names = (re.match(r"[a-z0-9+.-]+", each.strip()) for each in field(package, "Depends").split(","))
    return tuple(sorted({name[0] for name in names if name}))


class Installed:
    """A machine, and what a person at its keyboard does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def sh(self, *argv: str, within: float = COMMAND_WITHIN_S) -> str:
        return await self.machine.do("env", "DEBIAN_FRONTEND=noninteractive", *argv, within=within)

    async def apt_install(self, package: Path) -> str:
        """As the manual says: a local file, and nothing that apt would have to ask for."""
        return await self.sh("apt-get", "install", "--yes", f"/root/{package.name}", within=INSTALL_WITHIN_S)

    async def covey(self, *words: str) -> str:
        return await self.sh("covey", *words)

    async def as_nobody(self, *argv: str) -> Completed:
        """Run a program as a user who has no rights at all."""
        return await self.machine.run("runuser", "-u", "nobody", "--", *argv)

    async def instance(self, name: str) -> dict[str, Any]:
        return dict(json.loads(await self.covey("instance", "info", name, "--json")))

    async def units(self, *names: str) -> dict[str, dict[str, str]]:
        """What systemd says of each unit, property by property."""
        told = (
            await self.sh("systemctl", "show", "--property", "ActiveState,MainPID,UnitFileState,WatchdogUSec", *names)
        ).strip()
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in told.split("\n\n")]
        return dict(zip(names, blocks, strict=True))

    async def services(self) -> dict[str, int]:
        """The processes of Covey's services by the name of their unit; those that run, and have said that they are ready."""
        units = await self.units(*UNITS)
        return {name: int(unit["MainPID"]) for name, unit in units.items() if unit["ActiveState"] == "active"}

    async def qemus(self) -> dict[str, int]:
        """The pids of the machine's QEMUs by the UUID of their instance, as /proc has them."""
        told = await self.sh("sh", "-c", "for p in $(pgrep qemu-system); do echo $p $(tr '\\0' ' ' < /proc/$p/cmdline); done")
        found = (re.match(r"(\d+) .*-uuid (\S+)", line) for line in told.splitlines())
        return {match[2]: int(match[1]) for match in found if match}

    async def console(self, identity: str) -> str:
        """All that a guest has printed."""
        return await self.sh("cat", f"/var/lib/covey/guests/{identity}/console.log")

    async def beats(self, identity: str) -> list[int]:
        """Every number that the boot-sector guest has printed since its last boot."""
        said = await self.console(identity)
        whole = said.rpartition(GREETING)[2].split("\n")[:-1]
        return [int(line[1:9], 16) for line in whole if line.startswith("T")]

    async def beats_on(self, identity: str) -> None:
        """The guest lives, and has never left out a number since its boot."""
        before = await self.beats(identity)

        async def counted() -> bool:
            return (await self.beats(identity))[-1:] > before[-1:]

        await eventually(counted, within=BEAT_WITHIN_S)
        numbers = await self.beats(identity)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def debian_with(packages: tuple[str, ...]) -> MachineImage:
    """The image of a Debian that has these packages, made unless it is kept from an earlier run."""
    return await ensure_image(MachineRecipe(packages=packages))


@asynccontextmanager
async def a_debian(handed_in: Sequence[Path], packages: tuple[str, ...]) -> AsyncIterator[Installed]:
    """A Debian machine that has booted, with `packages` of Debian's, the disk of a guest and `handed_in` in /root. KEEP=1 leaves its
    disk."""
    image = await debian_with(packages)
    directory = Path(tempfile.mkdtemp(prefix=f"cvs{os.getpid()}-", dir=SCRATCH))
    machine = Machine(image, directory)
    guest = write_image(directory / "tick.raw", ticking(obeys=True))
    try:
        await machine.start([guest, *handed_in])
        yield Installed(machine)
    finally:
        await asyncio.shield(machine.end())
        if not os.environ.get("KEEP"):
            shutil.rmtree(directory)
