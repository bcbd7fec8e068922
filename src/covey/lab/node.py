"""One node of a lab: its power, its files, and the way into it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
from pathlib import Path

from covey.agent.membership import read_membership
from covey.base.errors import Refused, StepFailed, require
from covey.base.files import write_durably
from covey.lab import init
from covey.lab.layout import Lab, LabNode, hosts_file, settings_file
from covey.lab.processes import INIT, Process, end, find_init, starters
from covey.lab.wiring import NAMESPACES, ensure_no_namespace, ensure_plugged
from covey.main.layout import Layout

START_LIMIT_S = 60.0
ANSWER_LIMIT_S = 180.0  # forty nodes begin at once, on two processors
_LOOK_EVERY_S = 0.05
_LAST_WORDS = 2000
COVEY = (sys.executable, "-P", "-m", "covey.cli")


async def power_on(lab: Lab, node: LabNode) -> None:
    """The node runs, with its cables in. Raises StepFailed."""
    if find_init(node):
        _tell_neighbours(lab, node)
        await ensure_plugged(lab, node)
        return
    await power_off(node)  # what a start that was broken off has left
    _write_files(lab, node)
    await ensure_plugged(lab, node)
    _begin(node)
    deadline = asyncio.get_running_loop().time() + START_LIMIT_S
    while not find_init(node):
        if asyncio.get_running_loop().time() > deadline:
            raise StepFailed(f"it does not start: {said(node)[-_LAST_WORDS:]}", node, f"see: {node.log}")
        await asyncio.sleep(_LOOK_EVERY_S)


async def power_off(node: LabNode) -> None:
    """Everything in it is dead at once, and what the kernel had of it is gone; its files stay. Raises StepFailed."""
    await end(starters(node.directory))  # of a pid namespace's first process, which takes all others with it
    await ensure_no_namespace(node.netns)


async def await_covey(node: LabNode) -> None:
    """Its Covey answers. Raises StepFailed with its last words when it ends instead, or takes too long."""
    deadline = asyncio.get_running_loop().time() + ANSWER_LIMIT_S
    before = said(node).count(init.ENDED)
    while not await asyncio.to_thread(answers, node):
        told = said(node)
        is_late = asyncio.get_running_loop().time() > deadline
        if is_late or told.count(init.ENDED) > before or not find_init(node):
            raise StepFailed(f"its Covey does not begin: {told[-_LAST_WORDS:]}", node, f"see: {node.log}")
        await asyncio.sleep(_LOOK_EVERY_S)


def answers(node: LabNode) -> bool:
    """Its agent answers, and its controller, too, unless the node may be led by another one's, or has to wait for others to be heard."""
    layout = Layout(node.state)
    joined = not node.is_first and read_membership(layout.identity) is not None
    may_be_led = joined or layout.shared_store.exists()
    return _accepts(layout.agent_socket) and (may_be_led or _accepts(layout.api_socket))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def running(node: LabNode) -> Process:
    """Its init. Raises Refused while it has no power."""
    return require(find_init(node), Refused("its power is off", node, f"covey lab power {node.name} on"))


def way_in(node: LabNode, command: tuple[str, ...]) -> list[str]:
    """What runs a command within the node, whose own Covey it asks. Raises Refused while it has no power."""
    here = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    own = Path(sys.executable).parent  # `covey` is beside it
    return [
        *("nsenter", f"--target={running(node).pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"),
        *("env", "-u", "COVEY_SERVER", f"--chdir={Path.cwd()}", f"PATH={own}:{here}"),
        *(f"COVEY_STATE={node.state}", f"COVEY_CONFIG={node.settings}", *command),
    ]


def said(node: LabNode) -> str:
    """All that it has said since its last power on."""
    try:
        return node.log.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _write_files(lab: Lab, node: LabNode) -> None:
    """What is read when it starts. Settings and identity are written once: the former are the user's to change."""
    node.directory.mkdir(mode=0o711, exist_ok=True)
    _tell_neighbours(lab, node)
    (node.directory / "hostname").write_text(f"{node.name}\n")
    for path, text in ((node.settings, settings_file(node)), (node.directory / "machine-id", f"{uuid.uuid4().hex}\n")):
        if not path.exists():
            write_durably(path, text.encode(), 0o644)


def _tell_neighbours(lab: Lab, node: LabNode) -> None:
    """A lab that has grown: the file is written in its place, as a node that runs sees no other."""
    (node.directory / "hosts").write_text(hosts_file(lab))


def _begin(node: LabNode) -> None:
    """Start the node's init in namespaces of its own, apart from this process: it is to outlive it."""
    argv = [
        *("nsenter", f"--net={NAMESPACES / node.netns}"),
        # slave: what is unmounted on the machine is so in the node, and stays busy nowhere.
        *("unshare", "--mount", "--propagation", "slave", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
        *(sys.executable, "-P", "-m", INIT, str(node.directory), node.name),
        *(*COVEY, "up", "--config", str(node.settings)),
    ]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    # Begun anew at each power on: what is read there is of this one.
    log = (os.POSIX_SPAWN_OPEN, 1, str(node.log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), log, (os.POSIX_SPAWN_DUP2, 1, 2)]
    os.posix_spawnp(argv[0], argv, environment, file_actions=streams, setsid=True)
