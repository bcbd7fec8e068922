"""The disk of a lab machine: a Debian with systemd, made once from its recipe and kept by the recipe's digest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import Unavailable, check
from covey.base.run import run
from covey.host.image import debian
from covey.host.image.build import machine_sources, way_to_the_mirror
from covey.host.threads import in_thread
from covey.lab.initramfs import write_initramfs
from covey.model.image import Recipe

CACHE = Path("/var/cache/covey-lab")
BUILD_LIMIT_S = 1500.0
SYSTEM = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "busybox-static",
    "qemu-guest-agent",
    "apparmor",
    "iproute2",
    "procps",
    "netbase",
)
MASKED = (
    "networking.service",
    "systemd-timesyncd.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-pcrphase.service",
)
LABEL = "lab-root"
# Whatever one of these says is part of what comes out, so a change of them makes another image.
_SOURCES = (Path(__file__), Path(__file__).with_name("initramfs.py"))
_FILES = {
    "etc/fstab": f"LABEL={LABEL} / ext4 noatime 0 1\n",
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost machine\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n",  # what a lab machine loses in a power cut is nobody's loss
}
_HOOK = """#!/bin/sh -e
cp -a {overlay}/. "$1"/
"""
_SEAL = """#!/bin/sh -e
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/boot/initrd.img*
rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*
echo 00000000000000000000000000001ab0 > "$1/etc/machine-id"
"""


@dataclass(frozen=True, slots=True)
class MachineRecipe:
    """A Debian of `suite` with systemd, a guest agent, and `packages` besides; without network and without package sources."""

    suite: str = "bookworm"
    packages: tuple[str, ...] = ()
    size: int = 6 * 2**30  # bytes of the root file system; sparse

    @property
    def digest(self) -> str:
        """Names the image: the same for the same recipe and the same way of making it."""
        words = [repr(self), *(path.read_text() for path in _SOURCES)]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class MachineImage:
    """What a machine boots from. Never written to: each machine has an overlay of its own."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "root.raw"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs"


async def ensure_image(recipe: MachineRecipe, cache: Path = CACHE) -> MachineImage:
    """The image of that recipe, made now unless it is in the cache. One process makes it, others wait. Raises Unavailable when a tool
    is missing, StepFailed with the last lines of what failed."""
    image = MachineImage(cache / recipe.digest)
    async with _alone(cache / f"{recipe.digest}.lock"):
        if not image.directory.exists():
            with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as scratch:
                Path(scratch).chmod(0o755)
                made = await _make(recipe, Path(scratch))
                made.rename(image.directory)
    return image


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await in_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def _make(recipe: MachineRecipe, scratch: Path) -> Path:
    for tool in ("mmdebstrap", "mke2fs"):
        check(shutil.which(tool), Unavailable(f"{tool} is not installed", f"machine {recipe.digest}", f"install {tool}"))
    root, made = scratch / "root", scratch / "made"
    made.mkdir()
    await _make_tree(recipe, scratch, root)
    image = MachineImage(made)
    kernel = next((root / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, image.kernel)
    await write_initramfs(image.initramfs, root, kernel.name.removeprefix("vmlinuz-"), LABEL)
    with image.disk.open("wb") as file:
        file.truncate(recipe.size)
    how = ("-q", "-F", "-t", "ext4", "-L", LABEL, "-E", "assume_storage_prezeroed=1")
    await run(("mke2fs", *how, "-d", str(root), str(image.disk)), timeout_s=600, object=recipe.digest)
    return made


async def _make_tree(recipe: MachineRecipe, scratch: Path, root: Path) -> None:
    """A plain Debian: what apt asks of the packages is all that it has."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", recipe.suite)
    (scratch / "build.sources").write_text(debian.sources_for(Recipe(suite=recipe.suite), machine_sources(), codename))
    options = ('APT::Install-Recommends "false";', 'Acquire::Languages "none";', *await way_to_the_mirror())
    (scratch / "apt.conf").write_text("".join(f"{option}\n" for option in options))
    overlay = scratch / "overlay"
    for name, text in _FILES.items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    units = overlay / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in (*debian.masked_units(), *MASKED):
        (units / unit).symlink_to("/dev/null")
    for name, text in (("hook", _HOOK.replace("{overlay}", str(overlay))), ("seal", _SEAL)):
        (scratch / name).write_text(text)
        (scratch / name).chmod(0o755)
    await run(
        (
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--aptopt={scratch / 'apt.conf'}"),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in debian.LEFT_OUT),
            f"--include={','.join((*SYSTEM, *recipe.packages))}",
            *(f"--essential-hook={scratch / 'hook'}", f"--customize-hook={scratch / 'seal'}"),
            *(recipe.suite, str(root), str(scratch / "build.sources")),
        ),
        timeout_s=BUILD_LIMIT_S,
        env={"TMPDIR": str(scratch), "DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"},
        on_line=lambda _: None,
        object=f"machine {recipe.digest}",
    )
