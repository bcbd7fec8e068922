"""event list."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import click

from covey.base.clock import render_time
from covey.base.errors import BadInput, check, require
from covey.base.units import parse_duration
from covey.cli.lists import choose, names_of, show_items
from covey.cli.session import Session
from covey.cli.text import Column, complain, plain, plural, table, timed
from covey.cli.verbs import Look, Noun, Number, lists

COLUMNS = (
    timed("at", "at"),
    Column("text", ("text",), lambda item, now: item["text"]),
    plain("kind"),
    plain("object"),
    plain("job", right=True),
    plain("cursor"),
)
SHOWN = ("at", "text")
_TERM = re.compile(r"(text|kind|object|job)(!?=)(.*)", re.DOTALL)


@click.group(cls=Noun)
def command() -> None:
    """What happened."""


@command.command(
    "list",
    examples=[
        "covey event list --since 2h",
        "covey event list --since 2026-11-20T05:00:00Z --filter 'object=*web1'",
        "covey event list --follow",
    ],
)
@lists(*names_of(COLUMNS))
@click.option("--since", metavar="AGO|TIME|CURSOR", default="1h", help="From when on: 2h, a time, or a cursor. [1h]")
@click.option("--limit", type=Number(1, 20_000), default=1000, help="The latest so many at most. [1000]")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.pass_obj
def list_(session: Session, /, look: Look, since: str, limit: int, follow: bool) -> None:
    """Events, the oldest first. The filter takes FIELD=GLOB and FIELD!=GLOB here."""
    matches = parse_filter(look.filter)
    chosen = choose(COLUMNS, look, SHOWN)
    check(not (follow and look.json), BadInput("a JSON list must end", "--follow", "leave out --json"))
    items, at = session.client.events(_moment(since), look.filter, limit)
    if not follow:
        more = f"the latest {plural(limit, 'event')}; more: --limit"
        show_items(items, at, look, chosen, "event", (lambda shown: more) if len(items) == limit else None)
        return
    try:
        _follow(session, look, chosen, items, matches)
    except KeyboardInterrupt:
        return


def _follow(
    session: Session,
    look: Look,
    columns: list[Column],
    items: list[dict[str, Any]],
    matches: Callable[[dict[str, Any]], bool],
) -> None:
    if items:
        print("\n".join(table(columns, items, 0.0, look.header)), flush=True)
    for event in session.client.follow_events(items[-1]["cursor"] if items else ""):
        if event.name == "reset":
            complain("some events were missed: they are no longer kept", "covey event list --since 1d")
        elif matches(event.data):
            print(table(columns, [event.data], 0.0, header=False)[0])
            sys.stdout.flush()


def _moment(text: str) -> str:
    """A time or cursor for the API: "2h" is two hours ago."""
    try:
        return render_time(time.time() - parse_duration(text))
    except BadInput:
        check(
            re.fullmatch(r"[0-9][0-9A-Za-z:.+-]*", text, re.ASCII),
            BadInput(f"{text!r} is no time", "--since", "such as 2h, or 2026-11-20T05:00:00Z"),
        )
        return text


def parse_filter(text: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an event matches every FIELD=GLOB and FIELD!=GLOB of the text, as the server does for lists; its stream knows no filter.
    Raises BadInput."""
    terms: list[tuple[str, bool, str]] = []
    for word in text.split():
        term = require(
            _TERM.fullmatch(word),
            BadInput(f"{word!r} cannot be understood", "--filter", "FIELD=GLOB or FIELD!=GLOB; fields: kind, object, text, job"),
        )
        terms.append((term[1], term[2] == "=", term[3]))
    return lambda event: all(fnmatchcase(str(event.get(field) or ""), glob) is wanted for field, wanted, glob in terms)
