"""instance migrate."""

from __future__ import annotations

import click

from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import DURATION, RATE, Manner, Name, changes


@command.command(
    "migrate",
    change=True,
    examples=[
        "covey instance migrate web1 --dry-run",
        "covey instance migrate web1 --to n2",
        "covey instance migrate web1 --to n2 --bandwidth 500M --max-downtime 100ms",
        "covey instance migrate --filter 'node=n1 state=running' -y",
    ],
)
@chosen
@click.option("--to", type=Name("node"), help="The node. [where there is most room]")
@click.option("--bandwidth", type=RATE, help="So many bits a second at most: 500M. [no limit]")
@click.option("--max-downtime", type=DURATION, help="How long the guest may stand still at the end. [300ms]")
@click.option(
    "--auto-converge/--no-auto-converge",
    default=True,
    help="Slow a guest down that writes faster than its memory can be sent. [slow it down]",
)
@changes
@click.pass_obj
def migrate(
    session: Session,
    /,
    name: str | None,
    filter: str,
    to: str | None,
    bandwidth: int | None,
    max_downtime: float | None,
    auto_converge: bool,
    manner: Manner,
) -> int:
    """Move it to another node while it runs, with its disks.

    All goes from node to node encrypted. Until the guest runs there, it can be given up (covey job cancel) and goes on where it is.
    """
    wish = {"to": to, "bandwidth": bandwidth, "downtime_s": max_downtime, "slows_guest": None if auto_converge else False}
    body = {key: value for key, value in wish.items() if value is not None}
    return on_instances(session, name, filter, manner, lambda one: to_instance("POST", one, "migrate", body=body))
