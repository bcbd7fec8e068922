"""The cables between a lab's nodes: a switch in a network namespace of its own, two links to each node, and which of them are cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from covey.base.run import run
from covey.lab.layout import NETWORK, SEGMENTS, Cut, Lab, LabNode

NAMESPACES = Path("/run/netns")
LIMIT_S = 60.0
_TABLE = "bridge lab"


async def ensure_switch(lab: Lab) -> None:
    """The two bridges are there. Without a switch no cable leads anywhere, so nothing else has to be kept."""
    await ensure_namespace(lab.switch)
    present = await links(lab.switch)
    made = [f"link add {segment.name} type bridge" for segment in SEGMENTS if segment.name not in present]
    await ip(lab.switch, [*made, "link set lo up", *(f"link set {segment.name} up" for segment in SEGMENTS)])


async def ensure_plugged(lab: Lab, node: LabNode) -> None:
    """The node has its two cards, cables and addresses; a cable that is cut stays so."""
    await ensure_namespace(node.netns)
    there, here = await links(lab.switch), await links(node.netns)
    cables = [
        f"link add {node.port(segment)} type veth peer name {segment.device} netns {node.netns}"
        for segment in SEGMENTS
        if node.port(segment) not in there
    ]
    await ip(lab.switch, [*cables, *(f"link set {node.port(segment)} master {segment.name}" for segment in SEGMENTS)])
    await ip(node.netns, within_node(node, has_bridge=NETWORK.holder in here))
    await ensure_cuts(lab)


def within_node(node: LabNode, has_bridge: bool) -> list[str]:
    """What makes the cards of a node ready, for ip(8)."""
    lines = ["link set lo up"]
    for segment in SEGMENTS:
        mac = segment.mac(node.number)
        if segment.holder != segment.device:
            lines += [] if has_bridge else [f"link add {segment.holder} address {mac} type bridge"]
            lines += [f"link set {segment.device} master {segment.holder}", f"link set {segment.holder} up"]
        lines += [
            f"link set {segment.device} address {mac} up",
            f"address replace {segment.address(node.number)}/{segment.subnet.prefixlen} dev {segment.holder}",
        ]
    return lines


async def ensure_cuts(lab: Lab) -> None:
    """Exactly what the lab says is cut, of the cables that are there."""
    present = await links(lab.switch)
    await ip(lab.switch, [line for line in port_states(lab) if line.split()[2] in present])
    await run(
        ("nsenter", f"--net={NAMESPACES / lab.switch}", "nft", "-f", "-"),
        timeout_s=LIMIT_S,
        stdin=render_cuts(lab).encode(),
        object=lab,
    )


def port_states(lab: Lab) -> list[str]:
    """Every port of the switch up, or down if its cable is cut; for ip(8)."""
    return [
        f"link set {node.port(segment)} {'down' if Cut(segment.name, node.name) in lab.cuts else 'up'}"
        for node in lab.nodes
        for segment in SEGMENTS
    ]


def render_cuts(lab: Lab) -> str:
    """Rules of the switch that keep two nodes apart, for nft(8); they replace those before in one transaction."""
    names = {segment.name: segment for segment in SEGMENTS}
    pairs = [
        tuple(lab.node(name).port(names[cut.segment]) for name in (cut.node, cut.peer)) for cut in sorted(lab.cuts) if cut.peer
    ]
    drops = [f'    iifname "{a}" oifname "{b}" drop\n' for pair in pairs for a, b in (pair, pair[::-1])]
    rules = "".join(("  chain forward {\n    type filter hook forward priority 0;\n", *drops, "  }\n"))
    return f"table {_TABLE}\ndelete table {_TABLE}\n" + (f"table {_TABLE} {{\n{rules}}}\n" if drops else "")


# --- network namespaces ------------------------------------------------------------------------------------------------------------
def namespaces(lab: Lab) -> list[str]:
    """Those of this lab that are there."""
    return sorted(path.name for path in NAMESPACES.glob(f"{lab.prefix}*"))


async def ensure_namespace(name: str) -> None:
    """It is there, and is one: a crash may have left the file without anything mounted on it."""
    path = NAMESPACES / name
    if path.exists() and path.stat().st_dev == NAMESPACES.stat().st_dev:
        path.unlink()
    if not path.exists():
        await run(("ip", "netns", "add", name), timeout_s=LIMIT_S, object=f"network namespace {name}")


async def ensure_no_namespace(name: str) -> None:
    """It is gone, with all links in it."""
    if (NAMESPACES / name).exists():
        await run(("ip", "netns", "delete", name), timeout_s=LIMIT_S, object=f"network namespace {name}")


async def links(netns: str) -> dict[str, str]:
    """The links of a namespace, each with what the kernel says of its state; none where there is no such namespace."""
    if not (NAMESPACES / netns).exists():
        return {}
    told = await run(("ip", "-n", netns, "-json", "link"), timeout_s=LIMIT_S, object=f"network namespace {netns}")
    return {link["ifname"]: link["operstate"] for link in json.loads(told.stdout)}


async def ip(netns: str, lines: Iterable[str]) -> None:
    """Several commands of ip(8) in one go. Raises StepFailed at the first that fails."""
    text = "".join(f"{line}\n" for line in lines)
    await run(("ip", "-n", netns, "-batch", "-"), timeout_s=LIMIT_S, stdin=text.encode(), object=f"network namespace {netns}")
