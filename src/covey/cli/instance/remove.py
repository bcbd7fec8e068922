"""instance remove and restore."""

from __future__ import annotations

from typing import Any

import click

from covey.cli.change import carry_out
from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import Manner, Name, changes, named


@command.command(
    "remove",
    change=True,
    examples=[
        "covey instance remove web1",
        "covey instance remove web1 --dry-run",
        "covey instance remove --filter tag=lab --yes",
        "covey instance remove web1 --purge",
    ],
)
@chosen
@click.option("--purge", is_flag=True, help="Keep nothing of it. What was removed before goes for good, too.")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, purge: bool, manner: Manner) -> int:
    """Cut it and hide it. Its disks are kept for 7 days (cluster modify --keep-removed): covey instance restore."""
    query = {"purge": "true"} if purge else {}
    return on_instances(session, name, filter, manner, lambda one: to_instance("DELETE", one, query=query), destructive=True)


@command.command(
    "restore",
    change=True,
    examples=["covey instance restore web1", "covey instance restore web1 --name web1-old --start"],
)
@named("instance")
@click.option("--name", "called", type=Name("instance"), help="Its name from now on. [the one it had]")
@click.option("--start", is_flag=True, help="Start it, too.")
@changes
@click.pass_obj
def restore(session: Session, /, name: str, called: str | None, start: bool, manner: Manner) -> int:
    """Bring back an instance that was removed. `covey instance list --removed` shows which; one of several of a name by its id."""
    body: dict[str, Any] = {"start": True} if start else {}
    if called:
        body["name"] = called
    return carry_out(session, to_instance("POST", name, "restore", body=body), manner)
