"""instance rename, reinstall."""

from __future__ import annotations

from typing import Any

import click

from covey.cli.change import carry_out
from covey.cli.instance.life import wait_option
from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.session import Session
from covey.cli.verbs import Manner, Name, changes, named


@command.command("rename", change=True, examples=["covey instance rename web1 www", "covey instance rename web1 www --dry-run"])
@named("instance")
@click.argument("new_name", type=Name("instance"), metavar="NEW-NAME")
@changes
@click.pass_obj
def rename(session: Session, /, name: str, new_name: str, manner: Manner) -> int:
    """Give it another name, also while it runs. What the guest calls itself is the guest's own affair."""
    return carry_out(session, to_instance("POST", name, "rename", body={"new_name": new_name}), manner)


@command.command(
    "reinstall",
    change=True,
    examples=[
        "covey instance reinstall web1",
        "covey instance reinstall web1 --image debian-12 --wait ready",
        "covey instance reinstall --filter tag=room7 --yes",
    ],
)
@chosen
@click.option("--image", metavar="IMAGE", help="Make it from this image. [the one it was made from]")
@wait_option
@changes
@click.pass_obj
def reinstall(session: Session, /, name: str | None, filter: str, image: str | None, wait: str | None, manner: Manner) -> int:
    """Make its first disk anew from an image. NICs, addresses and its other disks stay; the old one is kept for a while."""
    body: dict[str, Any] = {}
    if image:
        body["image"] = image
    if wait:
        body["wait_ready"] = True
    return on_instances(
        session, name, filter, manner, lambda one: to_instance("POST", one, "reinstall", body=body), destructive=True
    )
