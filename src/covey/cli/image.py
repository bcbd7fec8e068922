"""image add, build, list, info, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from covey.base.errors import BadInput
from covey.cli.change import carry_out
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.session import Session
from covey.cli.text import Column, paragraph, plain, sized, spoken_size, timed, when
from covey.cli.verbs import SIZE, Look, Manner, Noun, changes, lists, named

COLUMNS = (
    plain("name"),
    plain("state"),
    sized("size"),
    sized("used", "file_size"),
    plain("format"),
    Column("users", ("users",), lambda item, now: str(len(item["users"])), right=True),
    timed("created", "created_at"),
    plain("source"),
    plain("sha256"),
    plain("notes"),
    plain("id"),
)
SHOWN = ("name", "state", "size", "used", "format", "users", "created")


@click.group(cls=Noun)
def command() -> None:
    """Golden images, from which instances are made."""


@command.command("list", examples=["covey image list", "covey image list --filter state=ready --json"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All images."""
    show_list(session, "images", look, COLUMNS, SHOWN, "image")


@command.command("info", examples=["covey image info debian-12", "covey image info debian-12 --json"])
@named("image")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """Where it came from, and who uses it."""
    image = session.client.get("images", name)
    if as_json:
        show_json(image)
        return
    facts = [
        ("Size", f"{spoken_size(image['size'])}, {spoken_size(image['file_size'])} on disk" if image["size"] else ""),
        ("Format", image["format"]),
        ("Source", image["source"]),
        ("SHA-256", image["sha256"]),
        ("Created", when(image["created_at"])),
        ("Used by", ", ".join(image["users"]) or "nobody"),
        ("Notes", image["notes"]),
    ]
    paragraph(f"{image['name']}  {image['state']}", facts)


@command.command(
    "add",
    change=True,
    examples=[
        "covey image add debian-12 --source /srv/debian-12.qcow2",
        "covey image add web-12 --source http://mirror.lan/web.img --sha256 9f8...a08",
    ],
)
@named("image")
@click.option("--source", required=True, metavar="FILE|URL", help="A file on the server's machine, or an http(s) URL.")
@click.option("--sha256", metavar="HEX", help="What the file's SHA-256 must be.")
@click.option("--notes", metavar="TEXT", help="Free text.")
@changes
@click.pass_obj
def add(session: Session, /, name: str, source: str, sha256: str | None, notes: str | None, manner: Manner) -> int:
    """Make an image from a disk image: raw, qcow2 or an ISO."""
    from covey.client.client import Change

    if "://" not in source and session.client.connection.is_local:
        source = str(Path(source).absolute())
    return carry_out(session, Change("POST", "/v1/images", _given(name=name, source=source, sha256=sha256, notes=notes)), manner)


@command.command(
    "build",
    change=True,
    examples=[
        "covey image build debian-12",
        "covey image build web-12 --package nginx --hook setup.sh --size 4G",
    ],
)
@named("image")
@click.option("--suite", metavar="SUITE", help="Release of Debian. [bookworm]")
@click.option("--package", "packages", multiple=True, metavar="NAME", help="A package more; repeatable.")
@click.option("--hook", "hooks", multiple=True, metavar="FILE", help="A script to run in the new root ($1); repeatable.")
@click.option("--size", type=SIZE, help="Size of its disk. [2G]")
@click.option("--mirror", metavar="URL", help="Where packages come from. [the machine's own sources]")
@click.option("--notes", metavar="TEXT", help="Free text.")
@changes
@click.pass_obj
def build(session: Session, /, name: str, hooks: tuple[str, ...], manner: Manner, **wishes: Any) -> int:
    """Make a golden image of Debian here, ready for cloud-init."""
    from covey.client.client import Change

    body = _given(name=name, hooks=[_script(hook) for hook in hooks], **wishes)
    return carry_out(session, Change("POST", "/v1/image-builds", body), manner)


def _script(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", f"--hook {file}", "name a readable script") from error
    except ValueError as error:
        raise BadInput("is not UTF-8 text", f"--hook {file}", "name a script") from error


def _given(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, (), [])}


@command.command("remove", change=True, examples=["covey image remove debian-11", "covey image remove debian-11 --dry-run"])
@chosen("image")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Remove an image that nobody uses."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("images", one))

    return on_chosen(session, "image", name, filter, manner, removal, destructive=True)
