"""disk export and import: bytes between a file here and a disk there, with progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from covey.base.errors import BadInput, Refused, Unavailable, check
from covey.base.units import humane_size
from covey.cli.change import follow, show_plan, terms_of
from covey.cli.disk.noun import INDEX, command
from covey.cli.session import Session
from covey.cli.text import say
from covey.cli.verbs import Manner, Name, changes, named

if TYPE_CHECKING:
    from covey.client.connection import Incoming

PIECE = 2**20
DRAWN_EVERY_S = 0.2
_CLEAR = "\r\x1b[K"


@command.command(
    "export",
    examples=[
        "covey disk export web1 0 web1.qcow2",
        "covey disk export web1 0 web1.raw --format raw --snapshot s1",
        "covey disk export web1 0 - | ssh backup 'cat > web1.qcow2'",
    ],
)
@named("instance")
@click.argument("index", type=INDEX)
@click.argument("file")
@click.option("--format", type=click.Choice(["qcow2", "raw"]), default="qcow2", help="What it becomes. [qcow2]")
@click.option("--snapshot", type=Name("snapshot"), help="As it was then: of an instance that runs, too.")
@click.pass_obj
def export(session: Session, /, name: str, index: int, file: str, format: str, snapshot: str | None) -> None:
    """Write what a disk holds into FILE, which stands alone. - is standard output.

    The instance must be stopped, or a snapshot be named. Nothing is copied on the node; what holds nothing is neither sent nor written,
    save as raw to standard output.
    """
    from covey.client.connection import path_of

    path = path_of("instances", name, "disks", index, "content")
    is_raw_file = format == "raw" and file != "-"
    sent_as = "qcow2" if is_raw_file else format
    query = {"format": sent_as, "snapshot": snapshot}
    with (
        session.client.connection.fetch(path, query=query) as incoming,
        _output(file) as output,
        _shown("fetching", incoming.length) as told,
    ):
        (_unpack if is_raw_file else _pour)(incoming, output, told)
    if file != "-":
        say(f"disk {index} of {name} is in {file}, which takes {humane_size(Path(file).stat().st_blocks * 512)}")


def _pour(incoming: Incoming, output: BinaryIO, told: _Told) -> None:
    while piece := incoming.read(PIECE):
        output.write(piece)
        told.of(incoming.came)


def _unpack(incoming: Incoming, output: BinaryIO, told: _Told) -> None:
    """A qcow2 is what comes, as it has no holes: a raw file with its holes is what is written."""
    from covey.base.qcow2 import unpacked

    try:
        for at, data in unpacked(incoming.read):
            if data:
                output.seek(at)
                output.write(data)
            else:
                output.truncate(at)
            told.of(incoming.came)
    except ValueError as error:
        raise Unavailable(f"what came is not understood: {error}", "covey", "is the server of another release?") from error


@command.command(
    "import",
    change=True,
    examples=["covey disk import web1 old.vmdk", "xz -dc web1.raw.xz | covey disk import web1 - --from raw"],
)
@named("instance")
@click.argument("file")
@click.option("--from", "taken_for", metavar="FORMAT", default="", help="raw, qcow2, vmdk, vdi or vhdx. [what it looks like]")
@click.option("--pool", metavar="POOL", default="", help="Where it is kept. [as the cluster chooses]")
@click.option("--format", type=click.Choice(["qcow2", "raw"]), help="How it is kept. [the pool's]")
@click.option("--sha256", metavar="SUM", default="", help="What FILE must add up to.")
@changes
@click.pass_obj
def bring_in(
    session: Session,
    /,
    name: str,
    file: str,
    taken_for: str,
    pool: str,
    format: str | None,
    sha256: str,
    manner: Manner,
) -> int:
    """Give an instance one more disk, made of a disk image. - is standard input.

    The image is sent to the node, checked and converted there. Its pool must have room for both. An image that refers to other files is
    refused.
    """
    from covey.client.client import Change
    from covey.client.connection import path_of

    length = None if file == "-" else _length(file)
    query = {"pool": pool, "format": format or "", "source_format": taken_for, "sha256": sha256}
    change = Change("POST", path_of("instances", name, "disks", "import"), None, query)
    asked = Change(change.method, change.path, None, {**query, "length": str(length or 0)})
    plan = session.client.plan(asked)  # what is impossible is refused before anything is sent
    if manner.dry_run:
        show_plan(plan)
        return 0
    with _input(file) as source, _shown("sending", length or 0, manner.quiet) as told:
        job = session.client.send(change, terms_of(manner), _pieces(source, told), length)
    return follow(session.client, job, manner)


def _length(file: str) -> int:
    try:
        check(
            Path(file).is_file() or not Path(file).exists(),
            BadInput("it is not a regular file", file, "give a disk image, or - for standard input"),
        )
        with Path(file).open("rb") as source:
            return source.seek(0, os.SEEK_END)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file, "name another file") from error


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as source:
        yield source


def _pieces(source: BinaryIO, told: _Told) -> Iterator[bytes]:
    done = 0
    while piece := source.read(PIECE):
        yield piece
        done += len(piece)
        told.of(done)


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name when it is whole; whatever goes wrong leaves nothing."""
    if file == "-":
        yield sys.stdout.buffer
        return
    path = Path(file)
    part = path.with_name(f"{path.name}.part")
    check(not path.exists(), Refused("it is there already", file, "name another file, or remove it first"))
    try:
        output = part.open("xb")
    except FileExistsError as error:
        raise Refused("another export writes it, or one was cut off", part, "remove it first") from error
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", file, "name another file") from error
    try:
        with output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Refused(f"cannot be written: {error.strerror}", file, "make room, or name another file") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _Told:
    """How far it is, on a line of standard error that is written over and over; nothing when that is no terminal."""

    def __init__(self, doing: str, length: int, is_live: bool) -> None:
        self._doing = doing
        self._length = length
        self._is_live = is_live
        self._begun = self._drawn = time.monotonic()

    def of(self, done: int) -> None:
        now = time.monotonic()
        if self._is_live and now - self._drawn >= DRAWN_EVERY_S:
            self._drawn = now
            share = f"{100 * done / self._length:.0f} % of {humane_size(self._length)}" if self._length else humane_size(done)
            rate = humane_size(done / (now - self._begun))
            print(f"{_CLEAR}  {self._doing}  {share}, {rate}/s", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_live:
            print(_CLEAR, end="", file=sys.stderr, flush=True)


@contextmanager
def _shown(doing: str, length: int, quiet: bool = False) -> Iterator[_Told]:
    told = _Told(doing, length, sys.stderr.isatty() and not quiet)
    try:
        yield told
    finally:
        told.end()
