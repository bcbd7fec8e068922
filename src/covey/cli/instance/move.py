"""instance move."""

from __future__ import annotations

import click

from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import Manner, Name, changes


@command.command(
    "move",
    change=True,
    examples=[
        "covey instance move web1",
        "covey instance move web1 --to n2 --dry-run",
        "covey instance move --filter 'node=n1 state=stopped' -y",
    ],
)
@chosen
@click.option("--to", type=Name("node"), metavar="NODE", help="To this node. [the one with most memory free]")
@changes
@click.pass_obj
def move(session: Session, /, name: str | None, filter: str, to: str | None, manner: Manner) -> int:
    """Give it to another node with its disks, while it is stopped.

    Its disks are copied there, holes left out, and checked; until that is done it is where it was. What was left behind goes by itself.
    """
    return on_instances(
        session, name, filter, manner, lambda one: to_instance("POST", one, "move", body={"to": to} if to else {})
    )
