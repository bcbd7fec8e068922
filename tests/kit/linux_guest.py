"""A small Linux with qemu-guest-agent on a CD that BIOS and UEFI start: Debian's kernel, busybox, and the agent with its libraries. Made
once, then cached.

It is up within a few seconds under TCG. Its root file system is memory; its only user is root. It sets up nothing by itself, not even its
NICs: what it is to do, a test tells it by its agent. `send-frames` in it sends what no proper guest would (tests.kit.frames).
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import stat
import tempfile
from pathlib import Path

from covey.base.run import run
from covey.lab.initramfs import Entry, archive

CACHE = Path("/var/cache/covey-lab")
ISOLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin")
LOADER = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
BUSYBOX = Path("/usr/bin/busybox")
SENDER = Path(__file__).with_name("send_frames.c")
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"  # of systemd-boot-efi
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "virtio_balloon", "virtio_mem", "efivarfs")
DIRECTORIES = (
    *("bin", "dev", "etc", "lib", "lib64", "lib/x86_64-linux-gnu", "mnt", "proc", "root", "run", "sys", "tmp"),
    *("usr", "usr/sbin", "var", "var/run"),
)
COMMAND_LINE = "console=ttyS0 quiet panic=1"
CONFIG = f"DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n  KERNEL /kernel\n  APPEND initrd=/initrd {COMMAND_LINE}\n"
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /lib/modules.order); do insmod /lib/$module; done
hostname micro
ip link set lo up
until port=$(grep -lx org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); do sleep 0.1; done
device=${port%/name}
echo GUEST-UP
while true; do qemu-ga --method virtio-serial --path /dev/${device##*/} --statedir /run; sleep 1; done
"""
CHPASSWD = "#!/bin/sh\ncat > /tmp/passwords\n"  # busybox has none: what would be set is kept for the test to read
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"  # noqa: S105  (nobody has one)
# Where the parts of a program of UEFI's lie that is a stub, a kernel, its initrd and its command line (systemd-stub(7)).
PARTS = {".cmdline": 0x30000, ".linux": 0x2000000, ".initrd": 0x3000000}


async def ensure_linux_guest() -> Path:
    """The ISO. Raises StepFailed when its packages cannot be had."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + SENDER.read_bytes()).hexdigest()[:16]
    iso = CACHE / f"linux-guest-{digest}.iso"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "linux-guest.lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not iso.exists():
            with tempfile.TemporaryDirectory(prefix=".making-", dir=CACHE) as scratch:
                made = await _make(Path(scratch))
                made.rename(iso)
    return iso


async def _make(scratch: Path) -> Path:
    root, content = scratch / "root", scratch / "cd"
    content.mkdir()
    await _unpack(scratch, root)
    (next((root / "boot").glob("vmlinuz-*"))).rename(content / "kernel")
    entries = [*_directories(), *_files(), await _sender(scratch), *await _agent(root), *_modules(root)]
    (content / "initrd").write_bytes(gzip.compress(archive(entries), 1))
    (content / "isolinux.cfg").write_text(CONFIG)
    for file in (ISOLINUX, LOADER):
        (content / file.name).write_bytes(file.read_bytes())
    await _write_efi(scratch, root / STUB, content)
    iso = scratch / "guest.iso"
    bios = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    uefi = ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"]
    await run(["xorriso", "-as", "mkisofs", "-quiet", "-o", str(iso), *bios, *uefi, str(content)], timeout_s=120)
    return iso


async def _unpack(scratch: Path, root: Path) -> None:
    asked = ["apt-cache", "depends", "linux-image-cloud-amd64"]
    if (await run(asked, timeout_s=60, check=False)).status:  # a machine without lists of packages
        await run(["apt-get", "update", "-qq"], timeout_s=200)
    told = (await run(asked, timeout_s=60)).text
    kernel = next(line.split()[-1] for line in told.splitlines() if line.strip().startswith("Depends: linux-image-"))
    names = (kernel, "qemu-guest-agent", "systemd-boot-efi")
    await run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *names], timeout_s=300, cwd=scratch)
    for package in scratch.glob("*.deb"):
        await run(["dpkg-deb", "-x", str(package), str(root)], timeout_s=120)


async def _write_efi(scratch: Path, stub: Path, content: Path) -> None:
    """What UEFI starts: a FAT file system whose one file is stub, kernel, initrd and command line in one."""
    line = scratch / "command-line"
    line.write_text(COMMAND_LINE)
    sources = {".cmdline": line, ".linux": content / "kernel", ".initrd": content / "initrd"}
    added = [
        word
        for part, place in PARTS.items()
        for word in ("--add-section", f"{part}={sources[part]}", "--change-section-vma", f"{part}={place:#x}")
    ]
    program, image = scratch / "BOOTX64.EFI", str(content / "efi.img")
    await run(["objcopy", *added, str(stub), str(program)], timeout_s=60)
    sectors = program.stat().st_size // 512 + 2048  # below 65,536, or the CD's boot catalogue cannot say it
    await run(["mformat", "-C", "-i", image, "-T", str(sectors), "::"], timeout_s=60)
    await run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"], timeout_s=60)
    await run(["mcopy", "-i", image, str(program), "::/EFI/BOOT/BOOTX64.EFI"], timeout_s=60)


def _directories() -> list[Entry]:
    return [Entry(name, stat.S_IFDIR | 0o755) for name in DIRECTORIES]


def _files() -> list[Entry]:
    texts = {
        "init": (INIT, 0o755),
        "etc/passwd": (PASSWD, 0o644),
        "bin/chpasswd": (CHPASSWD, 0o755),
        "etc/os-release": ('PRETTY_NAME="Micro Linux"\n', 0o644),
    }
    entries = [Entry(name, stat.S_IFREG | mode, text.encode()) for name, (text, mode) in texts.items()]
    return [*entries, Entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes())]


async def _sender(scratch: Path) -> Entry:
    program = scratch / "send-frames"
    await run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", str(program), str(SENDER)], timeout_s=60)
    return Entry("bin/send-frames", stat.S_IFREG | 0o755, program.read_bytes())


async def _agent(root: Path) -> list[Entry]:
    """The agent and what it is linked with, of this machine."""
    program = root / "usr/sbin/qemu-ga"
    entries = [Entry("bin/qemu-ga", stat.S_IFREG | 0o755, program.read_bytes())]
    for line in (await run(["ldd", str(program)], timeout_s=30)).text.splitlines():
        path = next((Path(word) for word in line.split() if word.startswith("/")), None)
        if path:
            name = "lib64" if path.name.startswith("ld-") else "lib/x86_64-linux-gnu"
            entries.append(Entry(f"{name}/{path.name}", stat.S_IFREG | 0o755, path.read_bytes()))
    return entries


def _modules(root: Path) -> list[Entry]:
    """The modules and what they need, in the order in which they are to be loaded."""
    (place,) = (root / "lib/modules").iterdir()
    files = {path.stem.replace("-", "_"): path for path in (place / "kernel").rglob("*.ko")}
    order: list[str] = []

    def load(name: str) -> None:
        path = files[name]
        for needed in _needs(path):
            load(needed)
        if path.name not in order:
            order.append(path.name)

    for module in MODULES:
        load(module)
    entries = [Entry(f"lib/{name}", stat.S_IFREG | 0o644, files[name[:-3].replace("-", "_")].read_bytes()) for name in order]
    return [*entries, Entry("lib/modules.order", stat.S_IFREG | 0o644, "\n".join(order).encode())]


def _needs(module: Path) -> list[str]:
    """What a module's own `depends` line names."""
    for word in module.read_bytes().split(b"\0"):
        if word.startswith(b"depends="):
            return [name.replace("-", "_") for name in word[8:].decode().split(",") if name]
    return []
