"""instance console."""

from __future__ import annotations

import sys

import click

from covey.base.errors import BadInput, check
from covey.cli.instance.noun import command
from covey.cli.session import Session
from covey.cli.verbs import SIZE, named


@command.command(
    "console",
    examples=["covey instance console web1", "covey instance console web1 --log", "echo reboot | covey instance console web1"],
)
@named("instance")
@click.option("--log", is_flag=True, help="Print what the guest has written so far, and end.")
@click.option("--bytes", "most", type=SIZE, help="With --log: only the last so many. [64K]")
@click.pass_obj
def console(session: Session, /, name: str, log: bool, most: int | None) -> int:
    """Its serial console: first what was shown before, then live. Ctrl-] leaves it.

    Without a terminal, standard input is typed in; it ends once the input has ended and the guest is silent for a second.
    """
    check(log or most is None, BadInput("it goes with --log", "--bytes", "add --log"))
    if log:
        answer = session.client.answer("instances", name, "console", "log", query={"bytes": most or 65536})
        sys.stdout.buffer.write(answer.data)
        return 0
    from covey.cli.terminal import attach
    from covey.client.console import open_console

    with open_console(session.client.connection, name) as opened:
        return attach(opened, name)
