"""cluster backup, restore, reconcile: the records, kept and brought back."""

from __future__ import annotations

import getpass
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from covey.base.config import find_file
from covey.base.errors import BadInput, Refused, check
from covey.base.files import sync_directory
from covey.base.units import humane_duration
from covey.cli.change import ask, carry_out, check_can_ask
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import complain, plural, say, spoken_size
from covey.cli.verbs import Manner, Name, Verb, changes

if TYPE_CHECKING:
    from covey.main.restore import Outlook

PIECE = 2**20
PATH = "/v1/cluster/backup"
COMPACT_WITHIN_S = 600.0


@click.command(
    "backup",
    cls=Verb,
    change=True,
    examples=[
        "covey cluster backup",
        "covey cluster backup --to /mnt/nas/school.backup",
        "covey cluster backup --to - | ssh vault 'umask 77; cat > school.backup'",
    ],
)
@click.option("--to", "file", metavar="FILE", help="Write it into FILE here, and keep none there. - is standard output.")
@click.option("--json", "as_json", is_flag=True, help="What was made, as a JSON object; not with --to.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be in it, and make none.")
@click.pass_obj
def backup(session: Session, /, file: str | None, as_json: bool, dry_run: bool) -> None:
    """Make a copy of all records now: one is made each day by itself. What stands on disks is not in it.

    It holds every secret of the cluster, its authority among them: keep it where nobody reads it, and not only on its own machine.
    """
    check(not (file and as_json), BadInput("either into a file or as told", "--json", "leave one out"))
    if dry_run:
        _foretell(session, file)
    elif file:
        _fetch(session, file)
    else:
        made = session.client.connection.request("POST", PATH, body={}).json()
        if as_json:
            show_json(made)
        else:
            say(f"the records are in {made['file']} on {made['node']}, {spoken_size(made['size'])}")


def _foretell(session: Session, file: str | None) -> None:
    cluster = session.client.get("cluster")
    last = cluster["backup"]
    where = file or (f"the directory of {last['file']}" if last["file"] else "the state directory of the machine that leads")
    what = f"{plural(cluster['nodes'], 'node')}, {plural(cluster['instances'], 'instance')}"
    say(f"the records of cluster {cluster['name']} ({what}), with every secret, would go into {where}")


def _fetch(session: Session, file: str) -> None:
    """Into a file for its owner only, whole or not at all. Raises Refused."""
    if file == "-":
        check(not sys.stdout.isatty(), Refused("secrets are not shown on a terminal", "--to -", "name a file, or a pipe"))
        with session.client.connection.fetch(PATH, query={}) as incoming:
            while piece := incoming.read(PIECE):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    part = path.with_name(f".{path.name}.part")
    try:
        with (
            session.client.connection.fetch(PATH, query={}) as incoming,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as output,
        ):
            os.fchmod(output.fileno(), 0o600)
            while piece := incoming.read(PIECE):
                output.write(piece)
            output.flush()
            os.fsync(output.fileno())
        part.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Refused(f"cannot be written: {error.strerror}", file, "make room, or name another file") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    say(f"the records are in {file}, {spoken_size(path.stat().st_size)}: it holds every secret of the cluster")


@click.command(
    "restore",
    cls=Verb,
    change=True,
    examples=[
        "covey cluster restore /var/lib/covey/backups/covey-school-....backup -n",
        "covey cluster restore school.backup",
        "covey cluster restore school.backup --in-place-of n1",
    ],
)
@click.argument("file")
@click.option("--in-place-of", "node", type=Name("node"), help="The node that this machine is to be: a new one.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what is in it and what would be lost, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(session: Session, /, file: str, node: str | None, dry_run: bool, yes: bool) -> int:
    """Bring back the records of a backup on this machine, whose controller must be stopped.

    Guests are not touched. What was here is kept beside it. Then nothing is started or changed until `covey cluster reconcile`.
    """
    from covey.main import restore as restoring  # main stands above this floor, but it is this machine that is worked on

    where = _here(session, "covey cluster restore")
    manner = Manner(dry_run, yes, False, "", (), False, None)
    if not dry_run:
        check_can_ask(manner)
    _show(restoring.look(*where, file, node or ""))
    if dry_run:
        return 0
    if not ask("these records take the place of those: go on?", manner):
        return 1
    done = restoring.restore(*where, file, node or "", os.environ.get("SUDO_USER") or getpass.getuser())
    say(
        f"restored, as incarnation {done.incarnation}. Start Covey (on other nodes, too); then: covey cluster reconcile --dry-run"
    )
    return 0


@click.command(
    "recover",
    cls=Verb,
    change=True,
    examples=["covey cluster recover --dry-run", "covey cluster recover", "covey cluster recover --yes"],
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what this machine has of the records, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def recover(session: Session, /, dry_run: bool, yes: bool) -> int:
    """Go on with this machine alone when most of those that had the records are lost. Its controller must be stopped.

    What it has of the records becomes its own; guests are not touched. The lost machines' copies never count again: should one come back,
    it is given the records anew. Then nothing is started or changed until `covey cluster reconcile`.
    """
    from covey.main import recover as recovering

    where = _here(session, "covey cluster recover")
    manner = Manner(dry_run, yes, False, "", (), False, None)
    if not dry_run:
        check_can_ask(manner)
    _show(recovering.look(*where))
    if dry_run:
        return 0
    if not ask("what was written on lost machines alone is lost; this machine goes on with these records: go on?", manner):
        return 1
    done = recovering.recover(*where, os.environ.get("SUDO_USER") or getpass.getuser())
    say(f"recovered, as incarnation {done.incarnation}. Start Covey here; then: covey cluster reconcile --dry-run")
    return 0


def _here(session: Session, about: str) -> tuple[str, str | None]:
    """The settings file and the state directory of this machine's Covey."""
    check(
        not session.options.get("server") and not session.environ.get("COVEY_SERVER"),
        BadInput("it works on this very machine", about, "run it there, as root"),
    )
    return find_file("", session.environ), session.options.get("state") or session.environ.get("COVEY_STATE") or None


def _show(outlook: Outlook) -> None:
    head = outlook.head
    age = humane_duration(max(time.time() - head.made_at, 0.0))
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(head.made_at))
    what = f"{plural(head.nodes, 'node')}, {plural(head.instances, 'instance')}"
    say(f"cluster {head.cluster}  {what}; made {made}, {age} ago, on {head.made_on} by Covey {head.release}")
    say(f"  this machine is then node {outlook.becomes}, and here are now: {outlook.present or 'no records'}")
    for one in outlook.differences:
        if one.gone:
            say(f"  {one.noun}: gone by now, in the records again: {_some(one.gone)}")
        if one.new:
            say(f"  {one.noun}: new since then, in no record any more: {_some(one.new)}")
    if outlook.interrupted:
        say(f"  {plural(outlook.interrupted, 'job')} under way at that moment would end as interrupted")
    if outlook.silent:
        say(f"  no answer from: {', '.join(outlook.silent)}")


def _some(names: tuple[str, ...]) -> str:
    shown = 20
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


@click.command(
    "reconcile",
    cls=Verb,
    change=True,
    examples=[
        "covey cluster reconcile --dry-run",
        "covey cluster reconcile",
        "covey cluster reconcile --without n2 --because 'its disk is broken'",
    ],
)
@click.option("--without", type=Name("node"), multiple=True, metavar="NODE", help="Declare this silent node dead.")
@click.option("--because", metavar="TEXT", default="", help="Why it surely is; kept with the job and the records.")
@changes
@click.pass_obj
def reconcile(session: Session, /, without: tuple[str, ...], because: str, manner: Manner) -> int:
    """After a restore: see that the records say what runs on every node, then let the cluster work again.

    Before that nothing is started or changed. Each node must answer, or be declared dead by name.
    """
    from covey.client.client import Change

    body = {"without": list(without), "because": because}
    return carry_out(session, Change("POST", "/v1/cluster/reconcile", body), manner, destructive=True)


@click.command("compact", cls=Verb, change=True, examples=["covey cluster compact", "covey cluster compact --dry-run"])
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.pass_obj
def compact(session: Session, /, dry_run: bool) -> int:
    """Have the store of several machines forget its past, so that there is room and it writes again. Nothing that counts is lost.

    Done by itself when the store is full; this does it at once. Any controller does it, also while nobody can lead.
    """
    if dry_run:
        say("each member of the store would forget what was before this moment and write its file anew, one after the other")
        return 0
    done = session.client.connection.request("POST", "/v1/cluster/compact", body={}, timeout_s=COMPACT_WITHIN_S).json()
    say(f"the largest member's file takes {spoken_size(done['size'])} now")
    if done["full"]:
        complain("it is full still: records themselves fill it", "remove what is not needed, then once more")
    return 1 if done["full"] else 0
