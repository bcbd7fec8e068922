"""token add, list, remove."""

from __future__ import annotations

import time
from dataclasses import replace

import click

from covey.base.clock import render_time
from covey.cli.change import GOES_ON, show_plan, terms_of, watch
from covey.cli.chosen import chosen, on_chosen
from covey.cli.lists import names_of, show_list
from covey.cli.session import Session
from covey.cli.text import Column, complain, plain, timed, when
from covey.cli.verbs import DURATION, Look, Manner, Noun, changes, lists, named
from covey.cli.watch import tell_ending

COLUMNS = (
    plain("name"),
    plain("role"),
    timed("created", "created_at"),
    Column("expires", ("expires_at",), lambda item, now: when(item["expires_at"]) if item["expires_at"] else "never"),
)
SHOWN = ("name", "role", "created", "expires")


@click.group(cls=Noun)
def command() -> None:
    """Who may come in over the network."""


@command.command("list", examples=["covey token list", "covey token list --filter role=admin"])
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, look: Look) -> None:
    """All tokens. Their secrets are not kept anywhere."""
    show_list(session, "tokens", look, COLUMNS, SHOWN, "token")


@command.command(
    "add",
    change=True,
    examples=["covey token add ci", "covey token add anna --role admin --expires 30d > anna.token"],
)
@named("token")
@click.option("--role", type=click.Choice(["viewer", "admin"]), help="What it may: see, or everything. [viewer]")
@click.option("--expires", type=DURATION, help="How long it is good for. [for ever]")
@changes
@click.pass_obj
def add(session: Session, /, name: str, role: str | None, expires: float | None, manner: Manner) -> int:
    """Make a token. Its secret is printed on standard output, once, and kept nowhere."""
    from covey.client.client import Change

    body = {"name": name}
    if role:
        body["role"] = role
    if expires is not None:
        body["expires_at"] = render_time(time.time() + expires)
    change = Change("POST", "/v1/tokens", body)
    if manner.dry_run:
        show_plan(session.client.plan(change))
        return 0
    job = session.client.submit(change, terms_of(manner))
    ended = job if manner.no_wait else watch(session.client, job, replace(manner, quiet=True))
    if ended is not None and not manner.no_wait and ended["state"] != "succeeded":
        tell_ending(ended)
        return 1
    print(job["secret"])
    if not manner.quiet:
        complain("this is shown once", "keep it in a file of mode 0600 and name that in COVEY_TOKEN_FILE")
    return GOES_ON if ended is None else 0


@command.command("remove", change=True, examples=["covey token remove ci", "covey token remove ci --yes"])
@chosen("token")
@changes
@click.pass_obj
def remove(session: Session, /, name: str | None, filter: str, manner: Manner) -> int:
    """Remove a token: whoever shows it is no longer let in."""
    from covey.client.client import Change
    from covey.client.connection import path_of

    def removal(one: str) -> Change:
        return Change("DELETE", path_of("tokens", one))

    return on_chosen(session, "token", name, filter, manner, removal, destructive=True)
