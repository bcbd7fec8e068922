"""instance remove."""

from __future__ import annotations

import click

from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import Manner, changes


@command.command(
    "remove",
    change=True,
    examples=[
        "covey instance remove web1",
        "covey instance remove web1 --dry-run",
        "covey instance remove --filter tag=lab --yes",
    ],
)
@chosen
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Cut it and remove it with all its disks. There is no way back."""
    return on_instances(session, name, filter, manner, lambda one: to_instance("DELETE", one), destructive=True)
