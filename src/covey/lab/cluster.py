"""The nodes of a lab become one cluster, by the commands that an admin would type; and what each says of it."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from covey.agent.membership import read_membership
from covey.agent.place import read_shared
from covey.base.errors import CoveyError, StepFailed
from covey.base.run import run
from covey.client.connection import Connection
from covey.client.door import LocalDoor
from covey.controller.seats import most_seats
from covey.lab.layout import NETWORK, REPLICATION, Lab, LabNode
from covey.lab.node import COVEY, way_in
from covey.lab.processes import find_init
from covey.main.layout import Layout
from covey.model.membership import Membership

COMMAND_LIMIT_S = 180.0
READY_LIMIT_S = 180.0
LOOK_LIMIT_S = 5.0
_LOOK_EVERY_S = 0.1


def membership_of(node: LabNode) -> Membership | None:
    """The cluster that it has joined or made; None for one that stands alone yet."""
    return read_membership(Layout(node.state).identity)


async def has_cluster(node: LabNode) -> bool:
    """Whether it leads one; False too while it says nothing."""
    try:
        return bool((await _ask(node, "status", LOOK_LIMIT_S))["cluster"])
    except CoveyError:
        return False


async def ensure_cluster(lab: Lab) -> bool:
    """The first node has made a cluster; whether that was only now. Raises Unavailable, StepFailed with the words of the command."""
    first = lab.nodes[0]
    if (await _ask(first, "status", COMMAND_LIMIT_S))["cluster"]:
        return False
    options = ("--node-name", first.name, "--accelerator", lab.accelerator, "--quiet")
    await _do(first, "cluster", "init", lab.name, *options)
    await _do(first, "node", "modify", first.name, "--storage-address", str(REPLICATION.address(first.number)), "--quiet")
    return True


async def _do(node: LabNode, *words: str) -> None:
    await run((*COVEY, "--state", str(node.state), *words), timeout_s=COMMAND_LIMIT_S, object=node)


async def ensure_joined(lab: Lab, node: LabNode) -> bool:
    """The node is of the cluster, and ready; whether that was only now. Raises StepFailed with the words of the command."""
    first = lab.nodes[0]
    if node.is_first or membership_of(node):
        return False
    line = await run((*COVEY, "--state", str(first.state), "node", "invite", "--quiet"), timeout_s=COMMAND_LIMIT_S, object=first)
    places = ("--address", str(NETWORK.address(node.number)), "--storage-address", str(REPLICATION.address(node.number)))
    join = (*COVEY, "node", "join", "--yes", "--name", node.name, *places, line.text.strip())
    await run(way_in(node, join), timeout_s=COMMAND_LIMIT_S, object=node)
    deadline = asyncio.get_running_loop().time() + READY_LIMIT_S
    while (state := (await what_the_cluster_sees(lab)).get(node.name, "unknown")) != "ready":
        if asyncio.get_running_loop().time() > deadline:
            raise StepFailed(f"it has joined, and is {state} after {READY_LIMIT_S:g} s", node, "covey lab status")
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def copies(lab: Lab) -> int:
    """On how many nodes the records are to be; one: only where the cluster was made."""
    return most_seats(lab.count) if shutil.which("etcd") else 1


def is_shared(lab: Lab) -> bool:
    """Whether the records are on so many nodes, and each node knows where."""
    if copies(lab) == 1:
        return True
    told = [read_shared(Layout(node.state).shared_store) for node in lab.nodes]
    return all(shared and len(shared.endpoints) == copies(lab) for shared in told)


async def ensure_shared(lab: Lab) -> bool:
    """Whether it was only now that the records came to be where they are to be. Raises StepFailed when they do not."""
    if is_shared(lab):
        return False
    deadline = asyncio.get_running_loop().time() + READY_LIMIT_S
    while not (is_shared(lab) and all([await has_cluster(node) for node in lab.nodes])):
        if asyncio.get_running_loop().time() > deadline:
            raise StepFailed(f"its records are not on {copies(lab)} nodes after {READY_LIMIT_S:g} s", lab, "covey lab status")
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


async def what_the_cluster_sees(lab: Lab) -> dict[str, str]:
    """What the first node that answers says of each by name: ready, joining, behind, or that it does not answer. Nothing while all are
    silent."""
    for node in lab.nodes:
        if not find_init(node):
            continue
        try:
            nodes = await _ask(node, "nodes", LOOK_LIMIT_S)
        except CoveyError:
            continue
        if nodes["items"]:  # else it stands alone yet
            return {one["name"]: one["state"] if one["answers"] else "does not answer" for one in nodes["items"]}
    return {}


async def what_covey_says(node: LabNode) -> str:
    """Its Covey's answer, as `covey status` begins; or of which cluster it is, where another node leads."""
    membership = membership_of(node)
    try:
        told = await _ask(node, "status", LOOK_LIMIT_S)
    except CoveyError as error:
        return str(membership) if membership and not node.is_first else f"no answer: {error.what}"
    return f"{told['cluster'] or 'no cluster'}: {told['summary']}"


async def _ask(node: LabNode, what: str, within: float) -> dict[str, Any]:
    return await asyncio.to_thread(_answer, node, what, within)


def _answer(node: LabNode, what: str, within: float) -> dict[str, Any]:
    connection = Connection(LocalDoor(str(node.state)))
    try:
        return dict(connection.request("GET", f"/v1/{what}", timeout_s=within).json())
    finally:
        connection.close()
