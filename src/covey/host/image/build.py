"""Build a Debian image: mmdebstrap makes the tree, bootable.py the disk.

All work is done in one directory, within mount and process namespaces that end with it: whatever kills the agent,
nothing stays mounted and nothing goes on running. A later call clears the directory and starts again.
"""

from __future__ import annotations

import platform
import re
import shlex
import shutil
import stat
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import StepFailed, Unavailable, check
from covey.base.run import run
from covey.host.image import debian
from covey.host.image.bootable import write_disk
from covey.host.image.protocol import Progress
from covey.host.threads import in_thread
from covey.model.image import Recipe

NEEDED = 2 * 2**30  # bytes that a build of the usual size takes at its height: packages, tree, disk, image
_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "chroot": "coreutils",
}
_LONGEST_ERROR = 600  # characters
_LAST_LINES = 60
_OF_MMDEBSTRAP = re.compile(r"[EIWDN]: |done$|success")
_WHICH_COMMAND = re.compile(r"(setup failed: E: )?(apt-get |env |command failed|mmdebstrap failed to run)")
_APT_SOURCES = Path("/etc/apt")

# Before packages are configured: our files, and answers to the one question that is asked.
_PREPARE = """#!/bin/sh -e
cp -a {build}/overlay/. "$1"/
echo "grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections
"""
# After that: what only the installed system can do, then the recipe's scripts, then the seal.
_CONFIGURE = """#!/bin/sh -e
chroot "$1" systemctl enable systemd-networkd.service systemd-resolved.service ssh.service
chroot "$1" passwd --lock root
mkdir -p "$1/boot/grub/i386-pc"
cp "$1"/usr/lib/grub/i386-pc/*.mod "$1"/usr/lib/grub/i386-pc/*.lst "$1/boot/grub/i386-pc/"
"""
_SEAL = """#!/bin/sh -e
rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub
rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/apt/sources.list.d/*build.sources "$1"/etc/apt/sources.list
cp {build}/build.sources "$1/etc/apt/sources.list.d/debian.sources"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/cloud
rm -rf "$1"/tmp/* "$1"/var/tmp/* "$1"/root/.bash_history "$1"/var/lib/systemd/random-seed
find "$1/var/log" -type f -delete
find "$1" -xdev \\( -name '*.dpkg-old' -o -name '*.dpkg-dist' \\) -delete
rm -f "$1"/var/lib/dbus/machine-id
: > "$1/etc/machine-id"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"
"""
# What a script leaves running ends with it (pid_namespaces(7)): mmdebstrap would wait for it.
_HOOK = """\
#!/bin/sh
exec unshare --pid --fork --kill-child {script} "$1"
"""


@dataclass(frozen=True, slots=True)
class Build:
    """One image in the making, in a directory of its own."""

    image: str
    recipe: Recipe
    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def result(self) -> Path:
        return self.directory / "image.qcow2"


async def build(work: Build, progress: Progress) -> Path:
    """Build the image and return the qcow2. Raises BadInput for a bad recipe, Unavailable when a tool is missing,
    StepFailed with the last lines of what failed."""
    debian.check_recipe(work.recipe)
    check_tools()
    await clear(work.directory)
    work.directory.mkdir(parents=True, mode=0o700)
    _lay_out(work)
    await _make_tree(work, progress)
    progress("writing the disk", 0, 0)
    _write_menu(work)
    disk = work.directory / "disk.raw"
    await write_disk(work.root, disk, work.recipe.size, _root_uuid(work.image))
    progress("packing the image", 0, 0)
    argv = ("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", str(disk), str(work.result))
    await run(argv, timeout_s=1800, object=f"image {work.image}")
    return work.result


def check_tools() -> None:
    """Raises Unavailable naming the packages to install."""
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    check(not missing, Unavailable("images cannot be built here", "mmdebstrap", f"install {' '.join(missing)}"))


async def clear(directory: Path) -> None:
    """Remove what a build left. Its mounts lived in a namespace of its own; were one seen here nevertheless, removing
    the tree would reach into it, so it is undone first. Raises StepFailed when it is busy."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()  # proc(5): the fifth field is the mount point
    points = [Path(re.sub(r"\\(\d{3})", _character, line.split()[4])) for line in mounts]
    for point in sorted((point for point in points if directory in point.parents), reverse=True):
        await run(("umount", str(point)), timeout_s=30, object=directory)
    if directory.exists():
        await in_thread(shutil.rmtree, directory)


def _character(octal: re.Match[str]) -> str:
    """The kernel writes a blank in a path as \\040, and so on."""
    return chr(int(octal[1], 8))


def _lay_out(work: Build) -> None:
    """Write everything that mmdebstrap reads: sources, files for the root, scripts."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", work.recipe.suite)
    sources = debian.sources_for(work.recipe, machine_sources(), codename)
    (work.directory / "build.sources").write_text(sources)
    overlay = work.directory / "overlay"
    for name, text in debian.files().items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    units = overlay / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in debian.masked_units():
        (units / unit).symlink_to("/dev/null")
    for path in (overlay, *overlay.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)  # whatever the umask: they become the root's directories
        elif not path.is_symlink():
            path.chmod(0o644)
    for name, text in _scripts(work).items():
        _write_script(work.directory / name, text)


def _scripts(work: Build) -> dict[str, str]:
    """Scripts by file name; those that begin with `hook` run in the order of their names."""
    own = {"prepare": _PREPARE, "hook-000": _CONFIGURE, "hook-999": _SEAL}
    texts = {name: text.replace("{build}", shlex.quote(str(work.directory))) for name, text in own.items()}
    for number, text in enumerate(work.recipe.hooks, start=1):
        texts[f"own-{number:03d}"] = text if text.startswith("#!") else f"#!/bin/sh -e\n{text}\n"
        texts[f"hook-{number:03d}"] = _HOOK.replace("{script}", shlex.quote(str(work.directory / f"own-{number:03d}")))
    return texts


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(stat.S_IRWXU)


def machine_sources() -> dict[str, str]:
    """This machine's package sources, by file name."""
    names = [_APT_SOURCES / "sources.list", *sorted((_APT_SOURCES / "sources.list.d").glob("*"))]
    return {path.name: path.read_text() for path in names if path.suffix in (".list", ".sources") and path.exists()}


async def _make_tree(work: Build, progress: Progress) -> None:
    """Run mmdebstrap. Its processes are in a PID namespace that dies with whoever started it."""
    # In a file: a proxy's password has no place in a command line.
    options = ('APT::Install-Recommends "false";', 'Acquire::Languages "none";', *await way_to_the_mirror())
    (work.directory / "apt.conf").write_text("".join(f"{option}\n" for option in options))
    hooks = sorted(path for path in work.directory.glob("hook-*"))
    argv = (
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--verbose", "--format=directory"),
        f"--aptopt={work.directory / 'apt.conf'}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in debian.LEFT_OUT),
        *(f"--dpkgopt=path-include={pattern}" for pattern in debian.LEFT_IN),
        f"--include={','.join((*debian.PACKAGES, *work.recipe.packages))}",
        f"--essential-hook={work.directory / 'prepare'}",
        *(f"--customize-hook={hook}" for hook in hooks),
        *(work.recipe.suite, str(work.root), str(work.directory / "build.sources")),
    )
    count = _Count(progress)
    environment = {"TMPDIR": str(work.directory), "DEBIAN_FRONTEND": "noninteractive"}
    try:
        await run(argv, timeout_s=3600, env=environment, on_line=count.line, object=f"image {work.image}")
    except StepFailed as error:
        raise explain(error, count.errors, count.last) from error


def explain(error: StepFailed, errors: Sequence[str], last: Sequence[str]) -> StepFailed:
    """What mmdebstrap found wrong, in the place of all that it wrote: that is for the job's log. Lines that only say which command
    failed come after the words of that command."""
    said = list(dict.fromkeys(line.removeprefix("E: ").strip() for line in errors))
    telling = [line for line in said if not _WHICH_COMMAND.match(line)]
    words = next((line for line in reversed(last) if line.strip() and not _OF_MMDEBSTRAP.match(line)), "")
    parts = telling or ([part for part in (words, *said) if part] if said else [error.what])
    what = f"mmdebstrap: {'; '.join(parts)[:_LONGEST_ERROR]}"
    return StepFailed(
        what, error.object, "all that it said last: covey job info JOB --log", "".join(f"{line}\n" for line in last)
    )


async def way_to_the_mirror() -> list[str]:
    """How this machine's apt reaches its sources (proxies, clocks that are off): needed by the build, not kept in the
    image."""
    done = await run(("apt-config", "dump", "--no-empty"), timeout_s=30, object="apt")
    wanted = re.compile(r"Acquire::(?:https?::|Check-Valid-Until|Check-Date)[\w:.-]* \"[^\"]*\";", re.ASCII)
    return [line for line in done.text.splitlines() if wanted.fullmatch(line)]


class _Count:
    """Progress from what apt and dpkg print: packages to come, packages set up."""

    _COMING = re.compile(r"(\d+) newly installed")

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0
        self._all = 0
        self.errors: list[str] = []  # what begins with "E:", of apt and of mmdebstrap
        self.last: deque[str] = deque(maxlen=_LAST_LINES)

    def line(self, text: str) -> None:
        self.last.append(text)
        if text.startswith("E: "):
            self.errors.append(text)
        if match := self._COMING.search(text):
            self._all += int(match[1])
        elif text.startswith("Setting up "):
            self._done += 1
            self._progress(f"installing {text.split()[2]}", min(self._done, self._all), self._all)
        elif text.startswith("I: "):
            self._progress(text.removeprefix("I: "), min(self._done, self._all), self._all)


def _write_menu(work: Build) -> None:
    """The boot menu for the one kernel that is in the tree."""
    boot = work.root / "boot"
    kernels = sorted(path.name for path in boot.glob("vmlinuz-*"))
    check(kernels, Unavailable("the tree holds no kernel", f"image {work.image}", "the recipe must install one"))
    version = kernels[-1].removeprefix("vmlinuz-")
    menu = debian.render_boot_menu(f"/boot/vmlinuz-{version}", f"/boot/initrd.img-{version}", _root_uuid(work.image))
    (boot / "grub").mkdir(exist_ok=True)
    (boot / "grub/grub.cfg").write_text(menu)


def _root_uuid(image: str) -> str:
    """The root file system's UUID: the same for the same image, so that a rebuild differs only in what it must."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"covey:image:{image}"))
