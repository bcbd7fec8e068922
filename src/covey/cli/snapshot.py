"""snapshot add, list, revert, remove."""

from __future__ import annotations

import click

from covey.cli.change import carry_out
from covey.cli.lists import names_of, show_parts
from covey.cli.session import Session
from covey.cli.text import Column, plain, sized, timed
from covey.cli.verbs import Look, Manner, Name, Noun, changes, lists, named

COLUMNS = (
    plain("instance"),
    plain("name"),
    timed("created", "created_at"),
    plain("current"),
    Column("disks", ("disks",), lambda item, now: ",".join(str(disk["index"]) for disk in item["disks"]), right=True),
    sized("size"),
    plain("quiesced"),
    plain("notes"),
    plain("id"),
)
SHOWN = ("instance", "name", "created", "current", "disks", "size", "quiesced", "notes")
SNAPSHOT = Name("snapshot")


@click.group(cls=Noun)
def command() -> None:
    """Disks of instances as they were at a moment."""


@command.command("list", examples=["covey snapshot list web1", "covey snapshot list --filter 'name=before-*'"])
@named("instance", required=False)
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, name: str | None, look: Look) -> None:
    """Snapshots of one instance, or of all. CURRENT ones are what its disks have lain on since."""
    show_parts(session, "snapshots", name, look, COLUMNS, SHOWN, "snapshot")


@command.command(
    "add", change=True, examples=["covey snapshot add web1 before-upgrade", "covey snapshot add web1 --notes 'kernel 6.12'"]
)
@named("instance")
@click.argument("snapshot", type=SNAPSHOT, required=False)
@click.option("--notes", metavar="TEXT", help="What it is for.")
@changes
@click.pass_obj
def add(session: Session, /, name: str, snapshot: str | None, notes: str | None, manner: Manner) -> int:
    """Keep all disks of an instance as they are now, also while it runs.

    Without a name it is called by the time. Of a running guest it is what a power cut would leave, unless its guest agent answers.
    """
    from covey.client.client import Change
    from covey.client.connection import path_of

    wish = {"name": snapshot, "notes": notes}
    body = {key: value for key, value in wish.items() if value is not None}
    return carry_out(session, Change("POST", path_of("instances", name, "snapshots"), body), manner)


@command.command(
    "revert",
    change=True,
    examples=["covey snapshot revert web1 before-upgrade", "covey snapshot revert web1 before-upgrade --stop"],
)
@named("instance")
@click.argument("snapshot", type=SNAPSHOT)
@click.option("--stop", is_flag=True, help="Cut the guest first if it runs.")
@changes
@click.pass_obj
def revert(session: Session, /, name: str, snapshot: str, stop: bool, manner: Manner) -> int:
    """Make the disks again what they were. What was written since the last snapshot is lost; the snapshot stays."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    body = {"stop": True} if stop else {}
    change = Change("POST", path_of("instances", name, "snapshots", snapshot, "revert"), body)
    return carry_out(session, change, manner, destructive=True)


@command.command("remove", change=True, examples=["covey snapshot remove web1 before-upgrade --yes"])
@named("instance")
@click.argument("snapshot", type=SNAPSHOT)
@changes
@click.pass_obj
def remove(session: Session, /, name: str, snapshot: str, manner: Manner) -> int:
    """Give a snapshot up, also while the guest runs: the disks stay as they are, and can no longer be reverted to it."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    change = Change("DELETE", path_of("instances", name, "snapshots", snapshot))
    return carry_out(session, change, manner, destructive=True)
