"""instance screenshot."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from covey.base.errors import BadInput
from covey.cli.instance.noun import command
from covey.cli.session import Session
from covey.cli.text import say
from covey.cli.verbs import named


@command.command(
    "screenshot", examples=["covey instance screenshot web1 web1.png", "covey instance screenshot web1 - > web1.png"]
)
@named("instance")
@click.argument("file")
@click.pass_obj
def screenshot(session: Session, /, name: str, file: str) -> None:
    """Write what is on its screen into FILE, as PNG. - is standard output."""
    picture = session.client.answer("instances", name, "screenshot").data
    if file == "-":
        sys.stdout.buffer.write(picture)
        return
    try:
        Path(file).write_bytes(picture)
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", file, "name another file") from error
    say(f"the screen of {name} is in {file}")
