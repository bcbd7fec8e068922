"""pool add, list, info, remove."""

from __future__ import annotations

from typing import Any

import click

from covey.cli.change import carry_out
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.session import Session
from covey.cli.text import NONE, Column, paragraph, plain, size, timed, when
from covey.cli.verbs import Look, Manner, Noun, changes, lists, named


def _sum(item: dict[str, Any], key: str) -> str:
    known = [room[key] for room in item["nodes"] if room[key] is not None]
    return size(sum(known)) if known else NONE


COLUMNS = (
    plain("name"),
    plain("template"),
    plain("format"),
    Column("size", ("nodes",), lambda item, now: _sum(item, "size"), right=True),
    Column("free", ("nodes",), lambda item, now: _sum(item, "free"), right=True),
    Column("promised", ("nodes",), lambda item, now: _sum(item, "promised"), right=True),
    Column("users", ("users",), lambda item, now: str(len(item["users"])), right=True),
    plain("path"),
    timed("created", "created_at"),
    plain("id"),
)
SHOWN = ("name", "template", "format", "size", "free", "promised", "users", "path")


@click.group(cls=Noun)
def command() -> None:
    """Where disks are kept."""


@command.command("list", examples=["covey pool list", "covey pool list --columns name,free"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All pools."""
    show_list(session, "pools", look, COLUMNS, SHOWN, "pool")


@command.command("info", examples=["covey pool info default", "covey pool info default --json"])
@named("pool")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """Its room on each node, and who uses it."""
    pool = session.client.get("pools", name)
    if as_json:
        show_json(pool)
        return
    rooms = [
        (f"On {room['node']}", f"{size(room['free'])} of {size(room['size'])} free, {size(room['promised'])} promised")
        for room in pool["nodes"]
    ]
    facts = [
        ("Path", pool["path"]),
        ("Format", pool["format"]),
        *rooms,
        ("Created", when(pool["created_at"])),
        ("Used by", ", ".join(pool["users"]) or "nobody"),
    ]
    paragraph(f"{pool['name']}  {pool['template']}", facts)


@command.command(
    "add",
    change=True,
    examples=["covey pool add hdd --path /srv/hdd", "covey pool add fast --path /srv/ssd --format raw"],
)
@named("pool")
@click.option("--template", type=click.Choice(["file", "diskless"]), help="What keeps the disks. [file]")
@click.option("--path", metavar="DIR", help="Directory on every node.")
@click.option("--format", type=click.Choice(["qcow2", "raw"]), help="Of new disks, unless asked otherwise. [qcow2]")
@changes
@click.pass_obj
def add(session: Session, /, name: str, template: str | None, path: str | None, format: str | None, manner: Manner) -> int:
    """Make a pool."""
    from covey.client.client import Change

    wish = {"name": name, "template": template, "path": path, "format": format}
    body = {key: value for key, value in wish.items() if value is not None}
    return carry_out(session, Change("POST", "/v1/pools", body), manner)


@command.command("remove", change=True, examples=["covey pool remove hdd", "covey pool remove hdd --yes"])
@chosen("pool")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Remove a pool that nobody uses."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("pools", one))

    return on_chosen(session, "pool", name, filter, manner, removal, destructive=True)
