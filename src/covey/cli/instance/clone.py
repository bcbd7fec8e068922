"""instance clone."""

from __future__ import annotations

import click

from covey.cli.change import carry_out
from covey.cli.instance.noun import command, to_instance
from covey.cli.session import Session
from covey.cli.verbs import Manner, Name, changes, named


@command.command(
    "clone",
    change=True,
    examples=[
        "covey instance clone web1 web2",
        "covey instance clone web1 web2 --snapshot before-upgrade --start",
        "covey instance clone web1 web2 --full --dry-run",
        "covey instance clone web1 lab1 --identical",
    ],
)
@named("instance")
@click.argument("new", type=Name("instance"))
@click.option("--snapshot", type=Name("snapshot"), help="Its disks as this snapshot has them. [as they are now]")
@click.option("--full", is_flag=True, help="Copy the disks whole. [they lie on what both have in common]")
@click.option("--identical", is_flag=True, help="Change nothing inside; its NICs are unplugged. [it gets its own identity]")
@click.option("--start", is_flag=True, help="Start it, too.")
@changes
@click.pass_obj
def clone(
    session: Session, /, name: str, new: str, snapshot: str | None, full: bool, identical: bool, start: bool, manner: Manner
) -> int:
    """Make NEW with the disks of an instance, which may run.

    NEW gets NICs with addresses of its own on the same networks. By cloud-init its guest gets a host name, SSH host keys and a machine id
    of its own; a guest without cloud-init stays inside what the other is.
    """
    wish = {"name": new, "snapshot": snapshot, "full": full, "identical": identical, "start": start}
    body = {key: value for key, value in wish.items() if value}
    return carry_out(session, to_instance("POST", name, "clone", body=body), manner)
