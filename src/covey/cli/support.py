"""support bundle: what somebody who is to help needs to see, without secrets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from covey.base.errors import BadInput, check
from covey.base.units import humane_size
from covey.cli.session import Session
from covey.cli.text import complain, plural, say
from covey.cli.verbs import DURATION, Noun


@click.group(cls=Noun)
def command() -> None:
    """Help from others."""


@command.command(
    "bundle",
    examples=["covey support bundle", "covey support bundle --file web1-is-slow.tar.gz --since 7d"],
)
@click.option("-f", "--file", metavar="FILE", help="Where it goes. [covey-support-DATE.tar.gz here]")
@click.option("--since", type=DURATION, default=86400.0, help="How far back events and logs go. [1d]")
@click.option("--no-verify", is_flag=True, help="Do not have the nodes looked through.")
@click.pass_obj
def bundle(session: Session, /, file: str | None, since: float, no_verify: bool) -> None:
    """Gather what is needed to understand a problem: status, verify, objects, jobs, events, metrics; on the machine itself logs,
    versions, networks and libvirt's definitions, too. What cannot be had is named in it. Passwords, tokens, keys and user-data are left
    out; names, addresses and notes are not, so look through it before you give it away."""
    from covey.cli.bundle import gather, write

    path = Path(file or time.strftime("covey-support-%Y%m%d-%H%M%S.tar.gz"))
    check(not path.exists(), BadInput("there is such a file already", str(path), "name another by --file"))
    check(
        path.parent.is_dir() and os.access(path.parent, os.W_OK),
        BadInput("no file can be made there", str(path), "name another by --file"),
    )
    parts = gather(session, since, verify=not no_verify)
    write(path, parts)
    missing = [part for part in parts if part.missing]
    say(f"{path}: {plural(len(parts) - len(missing), 'part')}, {humane_size(path.stat().st_size)}")
    for part in missing:
        complain(f"not in it: {part.name}: {part.missing}")
    complain("secrets are left out as far as they can be told", "look through it before you give it away")
