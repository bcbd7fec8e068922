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
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covey.base.errors import NotFound, Refused, Unavailable, check
from covey.base.run import run
from covey.lab import wiring
from covey.lab.cluster import (
    copies,
    ensure_cluster,
    ensure_joined,
    ensure_shared,
    has_cluster,
    is_shared,
    membership_of,
    what_covey_says,
    what_the_cluster_sees,
)
from covey.lab.layout import NETWORK, SEGMENTS, Cut, Lab, LabNode, Segment
from covey.lab.node import await_covey, power_off, power_on, running
from covey.lab.processes import Process, end, find_init, pause, processes, resume, send, starters
from covey.lab.record import save_lab

TOOLS = ("ip", "unshare", "nsenter", "nft", "mount", "/usr/sbin/libvirtd")
PACKAGES = "install iproute2 util-linux mount nftables libvirt-daemon-system"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One part of making a lab: what is done, for which node ("" for none), and how it is said."""

    kind: str  # switch | power | init | join | share
    node: str
    says: str


def check_machine() -> None:
    """Raises Refused or Unavailable when no lab can be made here."""
    check(os.geteuid() == 0, Refused("a lab is made by root", "covey lab", "use sudo"))
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    check(not missing, Unavailable(f"not installed: {', '.join(missing)}", "covey lab", PACKAGES))


# --- making and removing -----------------------------------------------------------------------------------------------------------
def plan_up(
    lab: Lab, on: AbstractSet[str], has_switch: bool, has_cluster: bool, members: AbstractSet[str], is_shared: bool
) -> tuple[Step, ...]:
    """What is to be done for all nodes to run and to be of one cluster, when those of `on` run already, and `members` have joined it; and
    for its records to be where they are to be."""
    subnets = ", ".join(f"{segment.name} {segment.subnet}" for segment in SEGMENTS)
    switch = () if has_switch else (Step("switch", "", f"a switch with two networks: {subnets}"),)
    power = tuple(
        Step("power", node.name, f"{node.name} runs: {', '.join(str(each.address(node.number)) for each in SEGMENTS)}")
        for node in lab.nodes
        if node.name not in on
    )
    first, *others = (node.name for node in lab.nodes)
    made = () if has_cluster else (Step("init", first, f"a cluster {lab.name} on {first}"),)
    joins = tuple(Step("join", name, f"{name} joins the cluster") for name in others if name not in members)
    share = () if is_shared else (Step("share", "", f"the records are on {copies(lab)} nodes"),)
    return (*switch, *power, *made, *joins, *share)


async def what_up_does(lab: Lab) -> tuple[Step, ...]:
    """The plan for what there is now."""
    on = {node.name for node in lab.nodes if find_init(node)}
    members = {node.name for node in lab.nodes if membership_of(node)}
    bridges = await wiring.links(lab.switch)
    is_made = bool(members) or await has_cluster(lab.nodes[0])
    has_switch = all(segment.name in bridges for segment in SEGMENTS)
    return plan_up(lab, on, has_switch, is_made, members, is_shared(lab))


async def up(lab: Lab, tell: Tell) -> None:
    """The lab is there, and all of its nodes answer and are of one cluster. `tell` hears of each step that is done. Raises StepFailed, and
    what a Covey refuses."""
    save_lab(lab)
    says = {(step.kind, step.node): step.says for step in await what_up_does(lab)}
    whole = {(step.kind, step.node): step.says for step in plan_up(lab, set(), False, False, set(), False)}
    first, *others = lab.nodes
    await wiring.ensure_switch(lab)
    _tell(says, "switch", "", tell)
    for node in lab.nodes:
        await power_on(lab, node)
    async with asyncio.TaskGroup() as group:
        for node in lab.nodes:
            group.create_task(_await(node, says, tell))
    if await ensure_cluster(lab):
        _tell(whole, "init", first.name, tell)
    async with asyncio.TaskGroup() as group:
        for node in others:
            group.create_task(_join(lab, node, whole, tell))
    if await ensure_shared(lab):
        _tell(whole, "share", "", tell)


async def _join(lab: Lab, node: LabNode, says: dict[tuple[str, str], str], tell: Tell) -> None:
    if await ensure_joined(lab, node):
        _tell(says, "join", node.name, tell)


async def _await(node: LabNode, says: dict[tuple[str, str], str], tell: Tell) -> None:
    await await_covey(node)
    _tell(says, "power", node.name, tell)


def _tell(says: dict[tuple[str, str], str], kind: str, node: str, tell: Tell) -> None:
    if (kind, node) in says:
        tell(says[kind, node])


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
async def look(lab: Lab) -> list[dict[str, Any]]:
    """All nodes as they are now."""
    ports = await wiring.links(lab.switch)
    seen = await what_the_cluster_sees(lab)
    return list(await asyncio.gather(*(_look_at(lab, node, ports, seen) for node in lab.nodes)))


async def _look_at(lab: Lab, node: LabNode, ports: dict[str, str], seen: dict[str, str]) -> dict[str, Any]:
    first = find_init(node)
    found = processes(first) if first else []
    power = "off" if not first else "paused" if all(process.is_stopped for process in found) else "on"
    return {
        "name": node.name,
        "power": power,
        "state": str(node.state),
        "networks": {segment.name: _link(lab, node, segment, ports) for segment in SEGMENTS},
        "processes": [{"name": process.name, "pid": process.pid, "stopped": process.is_stopped} for process in found],
        "covey": await what_covey_says(node) if power == "on" else "",
        "seen": seen.get(node.name, ""),
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
