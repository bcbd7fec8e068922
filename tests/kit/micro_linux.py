"""Debian's kernel on a bootable image with a memory file system of a few files: what the small Linux guests of tests and benchmarks are made of."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from covey.base.run import run
from covey.lab.initramfs import Entry, archive

CACHE = Path("/var/cache/covey-lab")
LOADERS = (Path("/usr/lib/ISOLINUX/isolinux.bin"), Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"))
AS_DISK = ("-isohybrid-mbr", "/usr/lib/ISOLINUX/isohdpfx.bin")  # for write_image: it starts from a disk, too
COMMAND_LINE = "console=ttyS0 quiet panic=1"


async def ensure_made(name: str, sources: Iterable[Path], make: Callable[[Path], Awaitable[Path]]) -> Path:
    """The image of that name made of `sources`, from the cache or made anew in a directory that `make` gets."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, Path(__file__)))).hexdigest()[:16]
    kept = CACHE / f"{name}-{digest}.iso"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
                (await make(Path(scratch))).rename(kept)
    return kept


async def fetch_kernel(scratch: Path, *packages: str) -> Path:
    """Debian's kernel for virtual machines, and further packages, unpacked: the directory. Raises StepFailed when they cannot be had."""
    root = scratch / "root"
    asked = ["apt-cache", "depends", "linux-image-cloud-amd64"]
    if (await run(asked, timeout_s=60, check=False)).status:  # a machine without lists of packages
        await run(["apt-get", "update", "-qq"], timeout_s=200)
    told = (await run(asked, timeout_s=60)).text
    kernel = next(line.split()[-1] for line in told.splitlines() if line.strip().startswith("Depends: linux-image-"))
    await run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", kernel, *packages], timeout_s=300, cwd=scratch)
    for package in scratch.glob("*.deb"):
        await run(["dpkg-deb", "-x", str(package), str(root)], timeout_s=120)
    return root


def modules(root: Path, names: Iterable[str]) -> list[tuple[str, bytes]]:
    """The files of these modules and of what they need, by name, in the order in which they are to be loaded."""
    (place,) = (root / "lib/modules").iterdir()
    files = {path.stem.replace("-", "_"): path for path in (place / "kernel").rglob("*.ko")}
    order: dict[str, bytes] = {}

    def load(name: str) -> None:
        path = files[name]
        for needed in _needs(path):
            load(needed)
        order.setdefault(path.name, path.read_bytes())

    for name in names:
        load(name)
    return list(order.items())


def _needs(module: Path) -> list[str]:
    """What a module's own `depends` line names."""
    for word in module.read_bytes().split(b"\0"):
        if word.startswith(b"depends="):
            return [name.replace("-", "_") for name in word[8:].decode().split(",") if name]
    return []


def write_content(content: Path, root: Path, entries: Iterable[Entry], command_line: str) -> None:
    """What an image holds: the kernel in `root`, the memory file system of `entries`, the kernel's command line, and what starts it."""
    content.mkdir()
    (content / "kernel").write_bytes(next((root / "boot").glob("vmlinuz-*")).read_bytes())
    (content / "initrd").write_bytes(gzip.compress(archive(entries), 1))
    (content / "isolinux.cfg").write_text(
        f"DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n  KERNEL /kernel\n  APPEND initrd=/initrd {command_line}\n"
    )
    for loader in LOADERS:
        (content / loader.name).write_bytes(loader.read_bytes())


async def write_image(path: Path, content: Path, *more: str) -> None:
    """The image that starts by BIOS from a CD, and by what `more` tells xorriso besides."""
    bios = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    await run(["xorriso", "-as", "mkisofs", "-quiet", "-o", str(path), *bios, *more, str(content)], timeout_s=120)


def directories(*names: str) -> list[Entry]:
    return [Entry(name, stat.S_IFDIR | 0o755) for name in names]


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)
