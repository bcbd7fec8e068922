"""What a namespace lab is made of: the names, addresses and files of its nodes. Nothing here looks at the machine."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from covey.base.errors import BadInput, NotFound, check

PARENT = Path("/var/lib/covey-lab")
USUAL_NAME = "trial"
USUAL_COUNT = 3
MOST_NODES = 40
API_PORT = 7443
LONGEST_DIRECTORY = 50  # bytes: a node's sockets are below it, and unix(7) allows 107
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """One of the two networks between the nodes. Its name is that of its bridge in the switch. In a node it ends at the card `device`,
    and `holder` has the node's address."""

    name: str
    subnet: IPv4Network
    device: str
    holder: str
    suffix: str  # of its ports' names in the switch

    def address(self, number: int) -> IPv4Address:
        return self.subnet[number]

    def mac(self, number: int) -> str:
        """The same at each power on: neighbours find the node at once."""
        return f"02:1a:b0:{self.subnet[0].packed[1]:02x}:00:{number:02x}"


# Of the range for trying out devices (RFC 2544), which no site uses. Each lab has the same: they do not see each other.
# In the first one a node is as `covey node prepare --bridge br0 --nic eth0` leaves a machine: guests may be on its bridge.
NETWORK = Segment("network", IPv4Network("198.18.0.0/24"), "eth0", "br0", "")
REPLICATION = Segment("replication", IPv4Network("198.19.0.0/24"), "eth1", "eth1", "-repl")
SEGMENTS = (NETWORK, REPLICATION)


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """A node that is cut off: from all others, or from `peer` alone."""

    segment: str
    node: str
    peer: str = ""

    @staticmethod
    def between(segment: Segment, node: str, peer: str) -> Cut:
        """The same in whichever order the two are named."""
        return Cut(segment.name, *(sorted((node, peer)) if peer else (node, "")))

    def concerns(self, segment: Segment, node: str) -> bool:
        return self.segment == segment.name and node in (self.node, self.peer)


@dataclass(frozen=True, slots=True)
class LabNode:
    """One node. All of its files are below `directory`."""

    number: int
    directory: Path
    netns: str

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def is_first(self) -> bool:
        """The one that makes the cluster."""
        return self.number == 1

    @property
    def state(self) -> Path:
        """Its Covey's state directory."""
        return self.directory / "state"

    @property
    def settings(self) -> Path:
        return self.directory / "covey.toml"

    @property
    def log(self) -> Path:
        """What its init, agent and controller have said."""
        return self.directory / "log"

    def port(self, segment: Segment) -> str:
        """Its link's other end, in the switch."""
        return f"{self.name}{segment.suffix}"

    def __str__(self) -> str:
        return f"lab node {self.name}"


@dataclass(frozen=True)
class Lab:
    """A lab as it was asked for. `cuts` are the cables that are to be out."""

    name: str
    parent: Path
    count: int
    accelerator: str = "auto"
    cuts: frozenset[Cut] = frozenset()

    @property
    def directory(self) -> Path:
        return self.parent / self.name

    @cached_property
    def prefix(self) -> str:
        """Of the names of its network namespaces. Labs of one name in two directories have different ones."""
        return f"lab.{self.name}.{hashlib.sha256(str(self.parent).encode()).hexdigest()[:6]}."

    @property
    def switch(self) -> str:
        """The network namespace that holds the two bridges."""
        return f"{self.prefix}switch"

    @cached_property
    def nodes(self) -> tuple[LabNode, ...]:
        numbers = range(1, self.count + 1)
        return tuple(LabNode(number, self.directory / f"n{number}", f"{self.prefix}n{number}") for number in numbers)

    def node(self, name: str) -> LabNode:
        """Raises NotFound."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise NotFound(
            f"there is no node {name!r}", f"lab {self.name}", f"it has n1 to n{self.count}" if self.count > 1 else "n1"
        )

    def __str__(self) -> str:
        return f"lab {self.name}"


def check_place(name: str, parent: Path) -> None:
    """Raises BadInput for a lab that cannot be called so, or be there."""
    check(
        _NAME.fullmatch(name),
        BadInput(f"{name[:80]!r} cannot name a lab", "--name", "use at most 20 of a-z, 0-9 and '-', not at either end"),
    )
    directory = str(parent / name)
    check(
        len(directory.encode()) <= LONGEST_DIRECTORY,
        BadInput(f"{directory} is too long a path: nodes have sockets below it", "--dir", f"at most {LONGEST_DIRECTORY} bytes"),
    )
    check(
        directory.isprintable() and not re.search(r"[\s\"'\\]", directory),
        BadInput("its path holds blanks, quotes or control characters", "--dir", "choose another directory"),
    )


def hosts_file(lab: Lab) -> str:
    """Every node's /etc/hosts: all of them by name, and by name.replication on the second network."""
    lines = ["127.0.0.1 localhost"]
    for node in lab.nodes:
        lines.append(f"{NETWORK.address(node.number)} {node.name}")
        lines.append(f"{REPLICATION.address(node.number)} {node.name}.{REPLICATION.name}")
    return "\n".join(lines) + "\n"


def settings_file(node: LabNode) -> str:
    """The node's covey.toml: the machine's own must not be found there."""
    return f"""# Of this node of a lab; `covey lab up` writes it when the node is made. Yours to change: it counts from the next power on.
state = "{node.state}"
listen = "{NETWORK.address(node.number)}:{API_PORT}"
"""
