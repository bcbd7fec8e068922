"""instance modify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from covey.base.errors import BadInput, check
from covey.cli.instance.noun import chosen, command, on_instances, to_instance
from covey.cli.instance.platform import PLATFORM, platform_of, platform_options
from covey.cli.session import Session
from covey.cli.verbs import SIZE, Manner, Number, OrNone, changes


@command.command(
    "modify",
    change=True,
    examples=[
        "covey instance modify web1 --memory 4G --cpus 4",
        "covey instance modify web1 --max-memory 16G --max-cpus 8 --reboot",
        "covey instance modify web1 --firmware uefi --cpu-model x86-64-v2",
        "covey instance modify web1 --iso none",
        "covey instance modify web1 --raw-xml watchdog.xml",
        "covey instance modify web1 --tag web --tag stage",
        "covey instance modify web1 --notes 'ask anna first'",
        "covey instance modify web1 --no-tag",
        "covey instance modify web1 --protected --owner anna",
        "covey instance modify web1 --firewall web --firewall ssh",
    ],
)
@chosen
@click.option("--cpus", type=Number(1), metavar="N", help="Processors.")
@click.option("--memory", type=SIZE, help="Memory.")
@click.option("--max-cpus", type=OrNone(Number(1)), metavar="N|none", help="Up to how many CPUs it can grow while it runs.")
@click.option("--max-memory", type=OrNone(SIZE), metavar="SIZE|none", help="Up to how much memory it can grow while it runs.")
@platform_options
@click.option("--iso", metavar="IMAGE|none", help="Image in its CD-ROM drive.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Its tags from now on. Repeatable.")
@click.option("--no-tag", is_flag=True, help="No tags from now on.")
@click.option("--firewall", "firewalls", multiple=True, metavar="FIREWALL", help="All its NICs have it. Repeatable.")
@click.option("--no-firewall", is_flag=True, help="No firewalls, save those of single NICs.")
@click.option("--notes", metavar="TEXT", help="Its notes from now on.")
@click.option("--owner", metavar="TEXT", help="Whose it is from now on.")
@click.option("--protected/--no-protected", default=None, help="Whether to refuse what would lose it, or a part of it.")
@click.option("--reboot", is_flag=True, help="Reboot it, if anything waits for its next start.")
@changes
@click.pass_obj
def modify(
    session: Session,
    /,
    name: str | None,
    filter: str,
    tags: tuple[str, ...],
    no_tag: bool,
    firewalls: tuple[str, ...],
    no_firewall: bool,
    reboot: bool,
    manner: Manner,
    **wishes: Any,
) -> int:
    """Change what it is.

    A running guest gets at once what it can: tags, owner and notes; more CPUs and memory up to the maximum that it was started with; less
    memory, if it gives it. The rest waits for its next start: `covey instance info` shows what waits. A reboot from within the guest is
    no start.
    """
    check(not (tags and no_tag), BadInput("either tags or none", "--no-tag", "leave one out"))
    iso = wishes.pop("iso")
    body = {key: value for key, value in wishes.items() if value is not None and key not in PLATFORM} | platform_of(
        wishes, Path()
    )
    if iso:
        body["iso"] = "" if iso == "none" else iso
    if tags or no_tag:
        body["tags"] = list(tags)
    check(not (firewalls and no_firewall), BadInput("either firewalls or none", "--no-firewall", "leave one out"))
    if firewalls or no_firewall:
        body["firewalls"] = list(firewalls)
    if reboot:
        body["restart"] = True
    check(body, BadInput("nothing is to be changed", "instance modify", "say what: see covey instance modify --help"))
    return on_instances(session, name, filter, manner, lambda one: to_instance("PATCH", one, body=body))
