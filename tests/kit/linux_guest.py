"""A small Linux with qemu-guest-agent on a CD that BIOS and UEFI start: Debian's kernel, busybox, and the agent with its libraries. Made
once, then cached.

It is up within a few seconds under TCG. Its root file system is memory; its only user is root. It sets up nothing by itself, not even its
NICs: what it is to do, a test tells it by its agent. `send-frames` in it sends what no proper guest would (tests.kit.frames).
"""

from __future__ import annotations

from pathlib import Path

from covey.base.run import run
from covey.lab.initramfs import Entry
from tests.kit.micro_linux import (
    COMMAND_LINE,
    directories,
    ensure_made,
    fetch_kernel,
    file,
    modules,
    write_content,
    write_image,
)

BUSYBOX = Path("/usr/bin/busybox")
SENDER = Path(__file__).with_name("send_frames.c")
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"  # of systemd-boot-efi
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "virtio_balloon", "virtio_mem", "efivarfs")
DIRECTORIES = (
    *("bin", "dev", "etc", "lib", "lib64", "lib/x86_64-linux-gnu", "mnt", "proc", "root", "run", "sys", "tmp"),
    *("usr", "usr/sbin", "var", "var/run"),
)
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
    return await ensure_made("linux-guest", [Path(__file__), SENDER], _make)


async def _make(scratch: Path) -> Path:
    root = await fetch_kernel(scratch, "qemu-guest-agent", "systemd-boot-efi")
    entries = [*directories(*DIRECTORIES), *_files(), await _sender(scratch), *await _agent(root), *_modules(root)]
    content, iso = scratch / "cd", scratch / "guest.iso"
    write_content(content, root, entries, COMMAND_LINE)
    await _write_efi(scratch, root / STUB, content)
    await write_image(iso, content, "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot")
    return iso


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


def _files() -> list[Entry]:
    texts = {
        "init": (INIT, 0o755),
        "etc/passwd": (PASSWD, 0o644),
        "bin/chpasswd": (CHPASSWD, 0o755),
        "etc/os-release": ('PRETTY_NAME="Micro Linux"\n', 0o644),
    }
    entries = [file(name, text.encode(), mode) for name, (text, mode) in texts.items()]
    return [*entries, file("bin/busybox", BUSYBOX.read_bytes(), 0o755)]


async def _sender(scratch: Path) -> Entry:
    program = scratch / "send-frames"
    await run(["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", str(program), str(SENDER)], timeout_s=60)
    return file("bin/send-frames", program.read_bytes(), 0o755)


async def _agent(root: Path) -> list[Entry]:
    """The agent and what it is linked with, of this machine."""
    program = root / "usr/sbin/qemu-ga"
    entries = [file("bin/qemu-ga", program.read_bytes(), 0o755)]
    for line in (await run(["ldd", str(program)], timeout_s=30)).text.splitlines():
        path = next((Path(word) for word in line.split() if word.startswith("/")), None)
        if path:
            name = "lib64" if path.name.startswith("ld-") else "lib/x86_64-linux-gnu"
            entries.append(file(f"{name}/{path.name}", path.read_bytes(), 0o755))
    return entries


def _modules(root: Path) -> list[Entry]:
    found = modules(root, MODULES)
    return [*(file(f"lib/{name}", data) for name, data in found), file("lib/modules.order", "\n".join(dict(found)).encode())]
