"""What `covey lab` does: a cluster of nodes on one machine is made, disturbed, looked at and removed.

Nothing is remembered but what was asked for (lab.json): what runs, and which cables there are, is asked of the kernel each time. So each of
these may be killed at any moment and done again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covey.base.errors import CoveyError, NotFound, Refused, Unavailable, check
from covey.base.run import run
from covey.client.connection import Connection
from covey.client.door import LocalDoor
from covey.lab import wiring
from covey.lab.layout import NETWORK, SEGMENTS, Cut, Lab, LabNode, Segment
from covey.lab.node import COVEY, await_covey, power_off, power_on, running
from covey.lab.processes import Process, end, find_init, pause, processes, resume, send, starters
from covey.lab.record import save_lab

TOOLS = ("ip", "unshare", "nsenter", "nft", "mount", "/usr/sbin/libvirtd")
PACKAGES = "install iproute2 util-linux mount nftables libvirt-daemon-system"
INIT_LIMIT_S = 180.0
LOOK_LIMIT_S = 5.0
ANSWER_LIMIT_S = 60.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One part of making a lab: what is done, for which node ("" for none), and how it is said."""

    kind: str  # switch | power | init
    node: str
    says: str


def check_machine() -> None:
    """Raises Refused or Unavailable when no lab can be made here."""
    check(os.geteuid() == 0, Refused("a lab is made by root", "covey lab", "use sudo"))
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    check(not missing, Unavailable(f"not installed: {', '.join(missing)}", "covey lab", PACKAGES))


# --- making and removing -----------------------------------------------------------------------------------------------------------
def plan_up(lab: Lab, on: frozenset[str], has_switch: bool, cluster: str) -> tuple[Step, ...]:
    """What is to be done for all nodes to run with a cluster on the first, when those of `on` run already."""
    subnets = ", ".join(f"{segment.name} {segment.subnet}" for segment in SEGMENTS)
    switch = () if has_switch else (Step("switch", "", f"a switch with two networks: {subnets}"),)
    power = tuple(
        Step("power", node.name, f"{node.name} runs: {', '.join(str(each.address(node.number)) for each in SEGMENTS)}")
        for node in lab.nodes
        if node.name not in on
    )
    first = lab.nodes[0].name
    made = () if cluster else (Step("init", first, f"a cluster {lab.name} on {first}"),)
    return (*switch, *power, *made)


async def what_up_does(lab: Lab) -> tuple[Step, ...]:
    """The plan for what there is now."""
    on = frozenset(node.name for node in lab.nodes if find_init(node))
    first = lab.nodes[0]
    cluster = str((await ask_status(first)).get("cluster") or "") if first.name in on else ""
    bridges = await wiring.links(lab.switch)
    return plan_up(lab, on, all(segment.name in bridges for segment in SEGMENTS), cluster)


async def up(lab: Lab, tell: Tell) -> None:
    """The lab is there and all of its nodes answer. `tell` hears of each step that is done. Raises StepFailed."""
    save_lab(lab)
    steps = await what_up_does(lab)
    await wiring.ensure_switch(lab)
    _tell_all(steps, "switch", tell)
    for node in lab.nodes:
        await power_on(lab, node)
    async with asyncio.TaskGroup() as group:
        for node in lab.nodes:
            group.create_task(_await(node, steps, tell))
    told = await ask_status(lab.nodes[0], ANSWER_LIMIT_S)
    check("error" not in told, Unavailable(f"its Covey does not answer: {told.get('error')}", lab.nodes[0], "covey lab status"))
    if not told["cluster"]:
        await _make_cluster(lab)
        _tell_all(steps, "init", tell)


async def _await(node: LabNode, steps: tuple[Step, ...], tell: Tell) -> None:
    await await_covey(node)
    _tell_all(tuple(step for step in steps if step.node == node.name), "power", tell)


def _tell_all(steps: tuple[Step, ...], kind: str, tell: Tell) -> None:
    for step in steps:
        if step.kind == kind:
            tell(step.says)


async def _make_cluster(lab: Lab) -> None:
    first = lab.nodes[0]
    options = ("--node-name", first.name, "--accelerator", lab.accelerator, "--quiet")
    await run((*COVEY, "--state", str(first.state), "cluster", "init", lab.name, *options), timeout_s=INIT_LIMIT_S, object=first)


def what_down_does(lab: Lab) -> list[str]:
    """What of the lab there is, whether it was ever finished or not."""
    inits = starters(lab.directory)
    return [
        *([f"end {len(inits)} processes that hold nodes, and all that run in these"] if inits else []),
        *(f"remove the network namespace {name}" for name in wiring.namespaces(lab)),
        *([f"remove {lab.directory} with all disks in it"] if lab.directory.exists() else []),
    ]


async def down(lab: Lab) -> None:
    """Nothing of the lab is left: no process, namespace, mount, link or file. Raises StepFailed, and Refused when something is mounted
    below its directory: removing would remove that, too."""
    mounted = mounts_below(lab.directory)
    check(not mounted, Refused(f"something is mounted at {', '.join(mounted)}", lab, f"umount {' '.join(mounted)}"))
    await end(starters(lab.directory))
    for name in wiring.namespaces(lab):
        told = await run(("ip", "netns", "pids", name), timeout_s=wiring.LIMIT_S, check=False, object=lab)
        await end(int(pid) for pid in told.text.split())  # such as a tcpdump at the switch
        await wiring.ensure_no_namespace(name)
    if lab.directory.exists():
        await asyncio.to_thread(shutil.rmtree, lab.directory)
    with suppress(OSError):  # something else is in it
        lab.parent.rmdir()


def mounts_below(directory: Path) -> list[str]:
    """Mount points of this mount namespace at or below a directory, proc_pid_mountinfo(5)."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


# --- disturbing --------------------------------------------------------------------------------------------------------------------
async def cut(lab: Lab, node: LabNode, segment: Segment, peer: LabNode | None) -> Lab:
    """The node's cable is out; or, with `peer`, these two do not hear each other."""
    check(peer != node, Refused("it cannot be cut off from itself", node, "name another node: --from NODE"))
    return await _with_cuts(lab, lab.cuts | {Cut.between(segment, node.name, peer.name if peer else "")})


async def heal(lab: Lab, node: LabNode, segment: Segment, peer: LabNode | None) -> Lab:
    """What `cut` did with the same words is undone; without `peer` whatever was cut of the node in that network."""
    gone = {
        cut
        for cut in lab.cuts
        if (cut == Cut.between(segment, node.name, peer.name) if peer else cut.concerns(segment, node.name))
    }
    return await _with_cuts(lab, lab.cuts - gone)


async def _with_cuts(lab: Lab, cuts: frozenset[Cut]) -> Lab:
    changed = replace(lab, cuts=cuts)
    save_lab(changed)
    await wiring.ensure_cuts(changed)
    return changed


def kill(node: LabNode, wanted: str, number: signal.Signals) -> list[Process]:
    """Send a signal to every process of the node with that name, or to the one of that number. Raises NotFound."""
    all_of_it = processes(running(node))
    chosen = [process for process in all_of_it if wanted in (process.name, str(process.pid))]
    names = ", ".join(dict.fromkeys(process.name for process in all_of_it))
    check(chosen, NotFound(f"there is no process {wanted!r}", node, f"there are: {names}"))
    return [process for process in chosen if send(process, number)]


async def pause_node(node: LabNode) -> None:
    await pause(running(node))


async def resume_node(node: LabNode) -> None:
    await resume(running(node))


async def power(lab: Lab, node: LabNode, on: bool) -> None:
    """Cut the node's power, as a pulled plug does; or give it power, and wait until its Covey answers. Either may be so already."""
    if not on:
        await power_off(node)
        return
    await power_on(lab, node)
    await await_covey(node)


# --- looking -----------------------------------------------------------------------------------------------------------------------
async def ask_status(node: LabNode, within: float = LOOK_LIMIT_S) -> dict[str, Any]:
    """What `covey status` would say there; an `error` when nobody answers."""
    try:
        return dict(await asyncio.to_thread(_status, node, within))
    except CoveyError as error:
        return {"error": error.what}


def _status(node: LabNode, within: float) -> dict[str, Any]:
    connection = Connection(LocalDoor(str(node.state)))
    try:
        return dict(connection.request("GET", "/v1/status", timeout_s=within).json())
    finally:
        connection.close()


async def look(lab: Lab) -> list[dict[str, Any]]:
    """All nodes as they are now."""
    ports = await wiring.links(lab.switch)
    return list(await asyncio.gather(*(_look_at(lab, node, ports) for node in lab.nodes)))


async def _look_at(lab: Lab, node: LabNode, ports: dict[str, str]) -> dict[str, Any]:
    first = find_init(node)
    found = processes(first) if first else []
    power = "off" if not first else "paused" if all(process.is_stopped for process in found) else "on"
    return {
        "name": node.name,
        "power": power,
        "state": str(node.state),
        "networks": {segment.name: _link(lab, node, segment, ports) for segment in SEGMENTS},
        "processes": [{"name": process.name, "pid": process.pid, "stopped": process.is_stopped} for process in found],
        "covey": await ask_status(node) if power == "on" else {},
    }


def _link(lab: Lab, node: LabNode, segment: Segment, ports: dict[str, str]) -> dict[str, Any]:
    cuts = [cut for cut in sorted(lab.cuts) if cut.concerns(segment, node.name) and cut.peer]
    return {
        "address": str(segment.address(node.number)),
        "link": ports.get(node.port(segment), "absent").lower(),
        "cut": Cut(segment.name, node.name) in lab.cuts,
        "cut_from": [cut.peer if cut.node == node.name else cut.node for cut in cuts],
    }


def segment_of(replication: bool) -> Segment:
    return SEGMENTS[1] if replication else NETWORK
