"""What goes wrong in a soak: one fault a round, done by `covey lab` alone, and healed after some seconds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from tests.kit.a_lab import UP_LIMIT_S, ALab

KILLED = ("controller", "agent", "libvirtd", "etcd", "up")
HUNG = ("controller", "agent", "libvirtd", "etcd")
KINDS = ("kill", "hang", "cut", "cut-from", "cut-replication", "pause", "power")
LEADERS_SHARE = 0.4  # of the faults hit the node that leads
SECONDS = (2.0, 14.0)
DEPOSING = {"kill controller", "kill up", "hang controller", "cut", "pause", "power"}  # what may end the right to lead


@dataclass(frozen=True, slots=True)
class Fault:
    """`what` happens to `node` for `seconds`; `other` is whom it is cut off from, or the process."""

    kind: str
    node: str
    other: str
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.kind} {self.other}" if self.kind in ("kill", "hang") else self.kind

    @property
    def deposes(self) -> bool:
        """Whether a leader that it hits may lead no more."""
        return self.name in DEPOSING

    @property
    def ends_guests(self) -> bool:
        return self.kind == "power"

    @property
    def silences_node(self) -> bool:
        """Whether the node's own door may be shut meanwhile."""
        return self.kind in ("kill", "hang", "pause", "power")

    def __str__(self) -> str:
        return f"{self.name} {self.node}" + (f" {self.other}" if self.kind == "cut-from" else "") + f" for {self.seconds:.0f} s"


def draw(rng: random.Random, nodes: list[str], leader: str, running: dict[str, set[str]]) -> Fault:
    """One fault; `running` are the names of each node's processes: what does not run cannot be killed."""
    node = leader if leader in nodes and rng.random() < LEADERS_SHARE else rng.choice(nodes)
    kind, seconds = rng.choice(KINDS), rng.uniform(*SECONDS)
    other = ""
    if kind in ("kill", "hang"):
        other = rng.choice([name for name in (KILLED if kind == "kill" else HUNG) if name in running[node]])
    elif kind == "cut-from":
        other = rng.choice([each for each in nodes if each != node])
    return Fault(kind, node, other, seconds)


async def inject(lab: ALab, fault: Fault) -> None:
    match fault.kind:
        case "kill":
            await lab.do(f"kill {fault.node} {fault.other}")
        case "hang":
            await lab.do(f"kill {fault.node} {fault.other} --signal STOP")
        case "cut":
            await lab.do(f"cut {fault.node}")
        case "cut-from":
            await lab.do(f"cut {fault.node} --from {fault.other}")
        case "cut-replication":
            await lab.do(f"cut {fault.node} --replication")
        case "pause":
            await lab.do(f"pause {fault.node}")
        case "power":
            await lab.do(f"power {fault.node} off")


async def heal(lab: ALab, fault: Fault) -> None:
    match fault.kind:
        case "hang":
            await lab.ask(f"kill {fault.node} {fault.other} --signal CONT")  # it may have been killed and begun anew meanwhile
        case "cut" | "cut-from":
            await lab.do(f"heal {fault.node}")
        case "cut-replication":
            await lab.do(f"heal {fault.node} --replication")
        case "pause":
            await lab.do(f"resume {fault.node}")
        case "power":
            await lab.do(f"power {fault.node} on", within=UP_LIMIT_S)
        case _:
            await asyncio.sleep(0)
