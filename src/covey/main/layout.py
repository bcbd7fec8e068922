"""Where everything of one Covey is, and what it was asked for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from covey.base.config import (
    BackupSettings,
    JobSettings,
    LogSettings,
    MetricSettings,
    StoreSettings,
    parse_address,
    read_settings,
)
from covey.base.errors import Refused, check
from covey.base.files import remove_durably, write_durably

CANNOT = 2  # exit status of a program that says that it cannot


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one Covey is: below its state directory and nowhere else, but for the daemons' sockets when it is installed as
    a service."""

    state: Path
    sockets: Path | None = None  # None for the state directory

    @property
    def api_socket(self) -> Path:
        return (self.sockets or self.state) / "covey.sock"

    @property
    def agent_socket(self) -> Path:
        return (self.sockets or self.state) / "agent.sock"

    @property
    def store(self) -> Path:
        return self.state / "store" / "covey.db"

    @property
    def shared_store(self) -> Path:
        """Says where etcd is, when the records are there."""
        return self.state / "store" / "etcd.json"

    @property
    def agent(self) -> Path:
        return self.state / "agent"

    @property
    def identity(self) -> Path:
        """Of the machine as a node: its key, its certificate, and its membership."""
        return self.agent / "identity"

    @property
    def events(self) -> Path:
        return self.state / "events"

    @property
    def tls(self) -> Path:
        return self.state / "tls"

    @property
    def backups(self) -> Path:
        return self.state / "backups"

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
    def takeover(self) -> Path:
        return self.state / "takeover"

    @property
    def filters(self) -> Path:
        return self.state / "agent" / "filters"

    @property
    def fake(self) -> Path:
        return self.state / "fake" / "shelf"


@dataclass(frozen=True, slots=True)
class Choices:
    """What `covey up` was asked for, or a service by its unit."""

    state: Path
    hosts: str = "real"  # real | fake
    netns: str = ""  # network namespace of bridges and guests; "" for the machine's own
    listen: str = ""  # HOST:PORT for TLS, "" for the unix socket only
    config: str = ""  # the settings file, from which the rest comes; "" for none
    log: LogSettings = field(default_factory=LogSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    sockets: str = ""  # directory of the daemons' sockets, "" for the state directory
    is_service: bool = False  # started by systemd, and libvirtd is a unit of its own

    @property
    def layout(self) -> Layout:
        return Layout(self.state, Path(self.sockets) if self.sockets else None)

    def arguments(self) -> list[str]:
        """For the programs that `covey up` starts: they read the file themselves, at each start of theirs."""
        own = {"state": str(self.state), "hosts": self.hosts, "netns": self.netns, "listen": self.listen, "config": self.config}
        return [word for name, value in own.items() for word in (f"--{name}", value)]


def choose(config: str, **said: str | None) -> Choices:
    """What holds: what was said (None for what was not), else what the settings file says. Raises BadInput."""
    settings = read_settings(config)
    told: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    settings = replace(settings, **told)
    if settings.listen:
        parse_address(settings.listen)
    return Choices(
        Path(settings.state).absolute(),
        settings.hosts,
        settings.netns,
        settings.listen,
        config,
        settings.log,
        settings.jobs,
        settings.metrics,
        settings.store,
        settings.backup,
    )


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
    if layout.sockets:
        _point(layout.state / layout.api_socket.name, layout.api_socket)


def _point(path: Path, target: Path) -> None:
    """`path` leads to `target`: whoever knows the state directory finds the services' socket."""
    if not path.is_symlink() or path.readlink() != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


@contextlib.contextmanager
def alone(state: Path, *, among_services: bool = False) -> Iterator[None]:
    """Hold the state directory's lock: `covey up` holds it alone, services share it with each other. Raises Refused while another covey
    has it."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if among_services else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused("another covey runs on this state directory", str(state), "end that one, or use another --state") from None
    try:
        yield
    finally:
        os.close(descriptor)


def node_id(layout: Layout) -> str:
    """This machine's identity, drawn once: by whoever asks first, for agent and controller begin side by side."""
    path = layout.agent / "node-id"
    if not path.exists():
        identity = str(uuid.uuid4())
        drawn = path.with_name(f".{identity}")
        write_durably(drawn, identity.encode())
        with contextlib.suppress(FileExistsError):  # another was faster: that one's counts
            path.hardlink_to(drawn)
        remove_durably(drawn)
    return path.read_text().strip()
