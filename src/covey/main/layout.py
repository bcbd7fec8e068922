"""Where everything of one Covey is, and what it was asked for."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from covey.base.errors import BadInput, Refused, check
from covey.base.files import write_durably

CANNOT = 2  # exit status of a program that says that it cannot


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one Covey is: below its state directory and nowhere else."""

    state: Path

    @property
    def api_socket(self) -> Path:
        return self.state / "covey.sock"

    @property
    def agent_socket(self) -> Path:
        return self.state / "agent.sock"

    @property
    def store(self) -> Path:
        return self.state / "store" / "covey.db"

    @property
    def agent(self) -> Path:
        return self.state / "agent"

    @property
    def events(self) -> Path:
        return self.state / "events"

    @property
    def tls(self) -> Path:
        return self.state / "tls"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def pool(self) -> Path:
        return self.state / "pools" / "default"

    @property
    def guests(self) -> Path:
        return self.state / "guests"

    @property
    def seeds(self) -> Path:
        return self.state / "seeds"

    @property
    def fake(self) -> Path:
        return self.state / "fake" / "shelf"


@dataclass(frozen=True, slots=True)
class Choices:
    """What `covey up` was asked for."""

    state: Path
    hosts: str = "real"  # real | fake
    netns: str = ""  # network namespace of bridges and guests; "" for the machine's own
    listen: str = ""  # HOST:PORT for TLS, "" for the unix socket only

    def arguments(self) -> list[str]:
        return ["--state", str(self.state), "--hosts", self.hosts, "--netns", self.netns, "--listen", self.listen]


def prepare(layout: Layout) -> None:
    """Make the state directory: passable for QEMU's user, readable for nobody but root. Raises Refused for one in which others could
    put links in the place of our files."""
    layout.state.mkdir(mode=0o711, parents=True, exist_ok=True)
    found = layout.state.stat()
    check(
        found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o002,
        Refused(
            "the state directory can be written by others than its user",
            str(layout.state),
            f"give it to root: chown root {layout.state}; chmod o-w {layout.state}",
        ),
    )
    for directory in (layout.store.parent, layout.agent, layout.events, layout.tls):
        directory.mkdir(mode=0o700, exist_ok=True)
    for directory in (layout.images, layout.guests, layout.seeds):
        directory.mkdir(mode=0o711, exist_ok=True)


def node_id(layout: Layout) -> str:
    """This machine's identity, drawn once."""
    path = layout.agent / "node-id"
    if not path.exists():
        write_durably(path, str(uuid.uuid4()).encode())
    return path.read_text().strip()


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; IPv6 addresses in brackets. Raises BadInput."""
    host, _, port = text.rpartition(":")
    check(
        host and port.isascii() and port.isdigit() and int(port) < 65536,
        BadInput(f"{text!r} is not HOST:PORT", "--listen", "such as 0.0.0.0:7443"),
    )
    return host.strip("[]"), int(port)
