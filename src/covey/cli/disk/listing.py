"""disk list."""

from __future__ import annotations

import click

from covey.cli.disk.noun import command
from covey.cli.lists import names_of, show_parts
from covey.cli.session import Session
from covey.cli.text import plain, sized
from covey.cli.verbs import Look, lists, named

COLUMNS = (
    plain("instance"),
    plain("disk", "index", right=True),
    sized("size"),
    plain("pool"),
    plain("format"),
    plain("image"),
    plain("node"),
    plain("volume"),
)
SHOWN = ("instance", "disk", "size", "pool", "format", "image", "node")


@command.command("list", examples=["covey disk list web1", "covey disk list --filter 'pool=ssd size>100G'"])
@named("instance", required=False)
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, name: str | None, look: Look) -> None:
    """Disks of one instance, or of all. IMAGE is what a disk is a clone of."""
    show_parts(session, "disks", name, look, COLUMNS, SHOWN, "disk")
