"""What goes into a support bundle, each part gathered by itself: one that cannot be had does not keep the others out."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covey import __version__
from covey.base.clock import render_time
from covey.base.config import find_file
from covey.base.errors import CoveyError, NotFound
from covey.base.hiding import without_secret_texts, without_secrets
from covey.base.run import run
from covey.cli.session import Session
from covey.client.client import Client
from covey.client.door import LocalDoor

LISTS = ("nodes", "instances", "pools", "networks", "firewalls", "forwards", "images", "snapshots", "removed")
MOST_JOBS = 200
MOST_EVENTS = 20_000
MOST_LOG_LINES = 20_000
PROGRAM_WITHIN_S = 20.0
ABOUT = """A support bundle of Covey {version}, made {at} by `covey support bundle`.

What looks like a password, a token, a key or user-data was replaced by (hidden). Names, addresses, notes, reasons and tags are as they
are. MISSING.txt says what could not be had, and why.
"""
# What the machine says of itself: read only, each for its own reason.
PROGRAMS = {
    "addresses.txt": ("ip", "address"),
    "routes.txt": ("ip", "route", "show", "table", "all"),
    "bridges.txt": ("bridge", "link"),
    "packet-rules.txt": ("nft", "list", "ruleset"),
    "disks.txt": ("df", "--output=source,fstype,size,used,avail,pcent,target"),
    "memory.txt": ("free", "--bytes"),
    "processes.txt": ("ps", "-eo", "pid,ppid,etimes,rss,stat,comm"),
    "qemu-version.txt": ("qemu-system-x86_64", "--version"),
    "libvirt-version.txt": ("libvirtd", "--version"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle; or, with `missing`, why there is none."""

    name: str
    text: str = ""
    missing: str = ""


def gather(session: Session, since_s: float, verify: bool = True) -> list[Part]:
    """Every part. Never raises for one that cannot be had."""
    parts = [Part("versions.txt", _versions())]
    try:
        client = session.client
    except CoveyError as error:
        return [*parts, Part("api/", missing=str(error))]
    parts += _of_the_server(client, since_s, verify)
    if isinstance(client.connection.door, LocalDoor):
        parts += _of_the_machine(Path(client.connection.door.state), find_file("", session.environ), since_s)
    return parts


def write(path: Path, parts: list[Part]) -> None:
    """The archive, readable for its owner only."""
    at = render_time(time.time())
    missing = "".join(f"{part.name}: {part.missing}\n" for part in parts if part.missing) or "nothing\n"
    texts = [Part("README.txt", ABOUT.format(version=__version__, at=at)), Part("MISSING.txt", missing)]
    texts += [part for part in parts if not part.missing]
    folder = path.name.partition(".")[0]
    with (
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
        tarfile.open(fileobj=raw, mode="w:gz") as tar,
    ):
        for part in texts:
            data = part.text.encode()
            entry = tarfile.TarInfo(f"{folder}/{part.name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(data))


def part_of(name: str, make: Callable[[], object]) -> Part:
    """What `make` returns, without secrets: text as it is, all else as JSON."""
    try:
        made = make()
    except (CoveyError, OSError) as error:
        return Part(name, missing=str(error))
    if isinstance(made, str):
        return Part(name, without_secret_texts(made))
    return Part(name, json.dumps(without_secrets(None, made, depth=20), indent=1, ensure_ascii=False) + "\n")


# --- the server --------------------------------------------------------------------------------------------------------------------
def _of_the_server(client: Client, since_s: float, verify: bool) -> Iterator[Part]:
    first = part_of("api/status.json", lambda: client.get("status"))
    yield first
    if first.missing:
        return  # it does not answer: the rest would only wait for it as well
    yield part_of("api/cluster.json", lambda: client.get("cluster"))
    yield part_of("api/export.json", lambda: client.get("cluster", "export"))
    if verify:
        yield part_of("api/verify.json", client.verify)
    for collection in LISTS:
        yield part_of(f"api/{collection}.json", lambda collection=collection: client.list(collection).items)  # type: ignore[misc]
    yield part_of("api/jobs.json", lambda: client.list("jobs", most=MOST_JOBS).items)
    since = render_time(time.time() - since_s)
    yield part_of("api/events.json", lambda: client.events(since, "", MOST_EVENTS).items)
    yield part_of("api/metrics.txt", lambda: client.connection.request("GET", "/metrics").data.decode())


# --- this machine ------------------------------------------------------------------------------------------------------------------
def _versions() -> str:
    facts = {
        "covey": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _first_line("/etc/os-release", "PRETTY_NAME="),
        "cpu": _first_line("/proc/cpuinfo", "model name"),
    }
    return "".join(f"{name}: {value}\n" for name, value in facts.items())


def _first_line(file: str, beginning: str) -> str:
    try:
        lines = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return "not known"
    return next((line[len(beginning) :].strip(' \t:"') for line in lines if line.startswith(beginning)), "not known")


def _of_the_machine(state: Path, settings: str, since_s: float) -> Iterator[Part]:
    for name, argv in PROGRAMS.items():
        yield part_of(f"machine/{name}", lambda argv=argv: _said_by(argv))  # type: ignore[misc]
    journal = (
        "journalctl",
        "--no-pager",
        "--output=short-iso",
        f"--lines={MOST_LOG_LINES}",
        "--unit=covey*",
        f"--since=-{int(since_s)}s",
    )
    yield part_of("machine/journal.txt", lambda: _said_by(journal))
    if settings:
        yield part_of("machine/covey.toml", lambda: Path(settings).read_text(errors="replace"))
    yield part_of("machine/state-directory.txt", lambda: _listing(state))
    definitions = sorted((state / "libvirt" / "etc" / "qemu").glob("*.xml"))
    for file in definitions:
        yield part_of(f"machine/libvirt/{file.name}", lambda file=file: file.read_text(errors="replace"))  # type: ignore[misc]
    for file in sorted((state / "libvirt").rglob("*.log")):
        yield part_of(f"machine/libvirt/{file.name}", lambda file=file: _tail(file))  # type: ignore[misc]


def _said_by(argv: tuple[str, ...]) -> str:
    done = asyncio.run(run(argv, timeout_s=PROGRAM_WITHIN_S, check=False))
    said = (done.stdout + done.stderr).decode(errors="replace")
    return said if done.status == 0 else f"{said}\n(ended with status {done.status})\n"


def _listing(state: Path) -> str:
    """What lies in the state directory: modes, sizes and times, but nothing of its content."""
    if not state.is_dir():
        raise NotFound("there is no such directory", str(state))
    lines = []
    for path in sorted(state.rglob("*")):
        try:
            found = path.lstat()
        except OSError:
            continue  # it went meanwhile
        lines.append(
            f"{found.st_mode:o} {found.st_uid:>6} {found.st_size:>14} {render_time(found.st_mtime)} {path.relative_to(state)}"
        )
    return "\n".join(lines) + "\n"


def _tail(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - 2**20, 0))
        return opened.read().decode(errors="replace")
