"""A libvirtd of Covey's own: all its files below one directory, so that several run side by side and none touches the system's.

It is started in a mount namespace where that directory lies over libvirt's usual places, and lives on when Covey dies; guests live on
when it dies, and it finds them again when it is started anew.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from covey.base.errors import CoveyError, Refused, StepFailed, Unavailable, check
from covey.base.files import write_durably
from covey.base.run import run
from covey.host.hypervisor.places import LibvirtFiles, check_socket_path
from covey.host.hypervisor.private_init import BINDINGS, FOREGROUND, HIDE_KVM, KVM_DEVICE, PROGRAM

QEMU_USER = "libvirt-qemu"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
START_AGAIN_S = 2.0  # the least time between two starts of one that keeps ending
log = structlog.get_logger()
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class _Layout:
    """The private libvirtd's files below `directory`, the state directory that was asked for."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "libvirt"

    @property
    def sockets(self) -> Path:
        return self.root / "sockets"

    @property
    def socket(self) -> Path:
        return self.sockets / "libvirt-sock"

    @property
    def pid_file(self) -> Path:
        return self.root / "libvirtd.pid"

    @property
    def uri(self) -> str:
        return f"qemu:///system?socket={quote(str(self.socket))}"

    def __str__(self) -> str:
        return f"libvirtd of {self.directory}"


def private_files(directory: Path) -> LibvirtFiles:
    """Where the private libvirtd's files are, for LibvirtHypervisor."""
    root = _Layout(directory).root
    return LibvirtFiles(definitions=root / "etc", runtime=root / "run", logs=root / "log")


async def ensure_private_libvirtd(directory: Path, netns: str = "", user: str = QEMU_USER) -> str:
    """A private libvirtd answers; its connection URI is returned. One that runs already is joined. `netns` names the network namespace
    its guests' bridges are in ("" for the machine's own), `user` is whom QEMU runs as.

    Raises Refused when the directory will not do (too long a path, closed to `user`) or the running one lives in another network
    namespace, Unavailable when libvirtd is not installed or does not answer, StepFailed with its words when it does not start."""
    layout = _Layout(directory)
    running = find_private_libvirtd(directory)
    if running:
        _check_network(layout, running, netns)
    else:
        await run(
            await _command(layout, netns, user),
            timeout_s=START_LIMIT_S,
            object=layout,
            hint=f"its own words: {_words_of(layout)}",
        )
    await _answer(layout)
    return layout.uri


async def command_of_private_libvirtd(directory: Path, netns: str = "", user: str = QEMU_USER) -> list[str]:
    """What to execute in order to become the private libvirtd, in the foreground: for a service unit of its own. One that runs already
    ends first; its guests run on. Raises as `ensure_private_libvirtd` does."""
    await stop_private_libvirtd(directory)
    return [*await _command(_Layout(directory), netns, user), FOREGROUND]


async def await_private_libvirtd(directory: Path) -> str:
    """The private libvirtd, which somebody else starts, answers; its connection URI is returned. Raises Unavailable."""
    layout = _Layout(directory)
    await _answer(layout)
    return layout.uri


async def keep_private_libvirtd(directory: Path, netns: str = "", user: str = QEMU_USER) -> None:
    """Start it again whenever it ends, until cancelled: nobody else would, and without it no guest can be started or stopped."""
    layout = _Layout(directory)
    while True:
        await _until_ended(find_private_libvirtd(directory))
        try:
            await ensure_private_libvirtd(directory, netns, user)
            log.warning("libvirtd ended and was started again", libvirtd=str(layout))
        except CoveyError as error:
            log.error("libvirtd ended and does not start; trying again", error=str(error))
        await asyncio.sleep(START_AGAIN_S)


async def stop_private_libvirtd(directory: Path) -> None:
    """The private libvirtd is gone; its guests run on. Raises StepFailed when it cannot be ended."""
    layout = _Layout(directory)
    pid = find_private_libvirtd(directory)
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if find_private_libvirtd(directory) != pid:
            return  # it ended before the handle was had, and the number may be another's by now
        for order in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, order)
            if await _ended(handle, STOP_LIMIT_S):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    raise StepFailed(
        f"process {pid} does not end, not even by SIGKILL", layout, "look at its state with ps; it may hang in the kernel"
    )


def find_private_libvirtd(directory: Path) -> int:
    """The pid of the private libvirtd, 0 when it does not run. The pid file alone proves nothing: the command line must be its."""
    layout = _Layout(directory)
    try:
        pid = int(layout.pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return pid if words[:1] == [PROGRAM.encode()] and str(layout.pid_file).encode() in words else 0


def _prepare(layout: _Layout, user: str) -> None:
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.root.chmod(0o711)
    _forget_former_boot(layout)
    for name, _ in BINDINGS:
        (layout.root / name).mkdir(exist_ok=True)
        (layout.root / name).chmod(0o711)
    layout.sockets.mkdir(exist_ok=True)
    layout.sockets.chmod(0o700)
    write_durably(layout.root / "etc/libvirtd.conf", _daemon_configuration(layout).encode(), 0o644)
    write_durably(layout.root / "etc/qemu.conf", _qemu_configuration(layout, user).encode(), 0o644)


def _forget_former_boot(layout: _Layout) -> None:
    """What libvirtd noted of running guests in a former boot of this machine is about processes that are no more."""
    kept, current = layout.root / "boot", BOOT_ID.read_text()
    if kept.exists() and kept.read_text() == current:
        return
    shutil.rmtree(layout.root / "run", ignore_errors=False, onerror=_pass_over_absent)
    layout.pid_file.unlink(missing_ok=True)
    write_durably(kept, current.encode())


def _pass_over_absent(_function: object, _path: object, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]


def _host_uuid(layout: _Layout) -> str:
    """libvirt takes two daemons of one UUID for one host and refuses to migrate between them; so each gets its own, once."""
    kept = layout.root / "host-uuid"
    if not kept.exists():
        write_durably(kept, str(uuid.uuid4()).encode())
    return kept.read_text().strip()


def _daemon_configuration(layout: _Layout) -> str:
    return f"""# Written by Covey at each start of its private libvirtd.
unix_sock_dir = "{layout.sockets}"
unix_sock_rw_perms = "0600"
unix_sock_ro_perms = "0600"
unix_sock_admin_perms = "0600"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "{_host_uuid(layout)}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""


def _qemu_configuration(layout: _Layout, user: str) -> str:
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise Refused(
            f"there is no user {user} for QEMU to run as", layout, "install libvirt-daemon-system, or name another"
        ) from None
    return f"""# Written by Covey at each start of its private libvirtd.
user = "{user}"
group = "{_group(account)}"
# Covey gives volumes and seeds to that user itself; libvirt would also change what is not its to change.
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
# Without virtlogd: nothing of libvirt's but this one daemon.
stdio_handler = "file"
"""


def _group(account: pwd.struct_passwd) -> str:
    """The group that may open /dev/kvm, if the user may be in it; else the user's own."""
    if account.pw_uid != 0:
        try:
            return grp.getgrnam("kvm").gr_name
        except KeyError:
            pass  # a machine without KVM's group has no use for it either
    return grp.getgrgid(account.pw_gid).gr_name


async def _check_open_to(layout: _Layout, user: str) -> None:
    for directory in (*reversed(layout.root.parents), layout.root):
        if not await _may(layout, user, "-x", directory):
            raise Refused(
                f"QEMU runs as {user}, who may not pass through {directory}",
                f"directory {layout.directory}",
                f"`chmod o+x {directory}`, or use a state directory elsewhere",
            )


async def _may(layout: _Layout, user: str, how: str, path: Path) -> bool:
    """Whether QEMU's user may do to `path` what test(1) calls `how`."""
    account = pwd.getpwnam(user)
    group = grp.getgrnam(_group(account)).gr_gid
    as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={group}", "--init-groups", "/usr/bin/test", how, str(path)]
    return (await run(as_user, timeout_s=20, check=False, object=layout)).status == 0


def _check_network(layout: _Layout, pid: int, netns: str) -> None:
    wanted = Path("/run/netns", netns) if netns else Path("/proc/self/ns/net")
    try:
        same = wanted.stat().st_ino == Path(f"/proc/{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        same = False
    check(
        same,
        Refused(
            f"it runs in another network namespace than {netns or 'the one of this process'}",
            layout,
            "stop its guests and then it, or go on with the namespace it was started in",
        ),
    )


async def _command(layout: _Layout, netns: str, user: str) -> list[str]:
    """Make ready for its start; what starts it."""
    check_socket_path(layout.sockets / "libvirt-admin-sock")
    check(Path(PROGRAM).exists(), Unavailable(f"{PROGRAM} is not installed", layout, "install libvirt-daemon-system"))
    await asyncio.to_thread(_prepare, layout, user)
    await _check_open_to(layout, user)
    # Not `ip netns exec`: that makes a mount namespace of its own, and mounts made later on this machine would be invisible.
    enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    return [
        *enter,
        # slave: what is mounted on this machine later, such as a disk for a new pool, is seen inside; nothing gets out.
        *("unshare", "--mount", "--propagation", "slave"),
        *(sys.executable, "-P", "-m", "covey.host.hypervisor.private_init", str(layout.root)),
        *([] if await _may(layout, user, "-w", KVM_DEVICE) else [HIDE_KVM]),
    ]


def _words_of(layout: _Layout) -> Path:
    return layout.root / "log/libvirtd.log"


async def _answer(layout: _Layout) -> None:
    deadline = asyncio.get_running_loop().time() + START_LIMIT_S
    while not await asyncio.to_thread(_accepts, layout.socket):
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("it does not answer", layout, f"its own words: {_words_of(layout)}")
        await asyncio.sleep(0.05)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


async def _until_ended(pid: int) -> None:
    """Wait for the end of a process; 0 is one that has ended."""
    try:
        handle = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return
    if handle >= 0:
        try:
            await _ended(handle, None)
        finally:
            os.close(handle)


async def _ended(handle: int, seconds: float | None) -> bool:
    """Whether the process behind a pidfd ended in time: the handle becomes readable then, pidfd_open(2)."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        async with asyncio.timeout(seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
