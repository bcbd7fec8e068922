"""How every list is fetched and shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from covey.base.errors import BadInput, check
from covey.cli.session import Session
from covey.cli.text import Column, plural, say, table
from covey.cli.verbs import Look

Footer = Callable[[list[dict[str, Any]]], str]


def names_of(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def choose(columns: Sequence[Column], look: Look, shown: Sequence[str]) -> list[Column]:
    """The columns asked for, else those `shown` by default. Raises BadInput for one that is not known."""
    known = {column.name: column for column in columns}
    for name in look.columns:
        close = get_close_matches(name, known, 1)
        check(
            name in known,
            BadInput(
                f"there is no column {name!r}", "--columns", f"did you mean {close[0]}?" if close else f"use: {', '.join(known)}"
            ),
        )
    return [known[name] for name in look.columns or shown]


def show_list(
    session: Session,
    collection: str,
    look: Look,
    columns: Sequence[Column],
    shown: Sequence[str],
    noun: str,
    footer: Footer | None = None,
    latest: str = "",
) -> None:
    """Fetch what the chosen columns need and show it, by name, or with the `latest` by that field first. As JSON without chosen columns,
    whole objects come."""
    chosen = choose(columns, look, shown)
    fields = () if look.json and not look.columns else fields_of(chosen)
    if fields and latest:
        fields = tuple(dict.fromkeys((*fields, latest)))
    listing = session.client.list(collection, filter=look.filter, fields=fields)
    items = sorted(listing.items, key=lambda item: str(item[latest]), reverse=True) if latest else listing.items
    show_items(items, listing.at, look, chosen, noun, footer)


def show_parts(
    session: Session,
    collection: str,
    instance: str | None,
    look: Look,
    columns: Sequence[Column],
    shown: Sequence[str],
    noun: str,
) -> None:
    """As `show_list`, of one instance or of all."""
    if instance:
        session.client.get("instances", instance)  # a name that is wrong is not an instance without any
        look = replace(look, filter=f"instance={instance} {look.filter}".strip())
    show_list(session, collection, look, columns, shown, noun)


def fields_of(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(field for column in columns for field in column.fields))


def show_items(
    items: list[dict[str, Any]], now: float, look: Look, columns: Sequence[Column], noun: str, footer: Footer | None = None
) -> None:
    if look.json:
        kept = fields_of(columns)
        show_json([{field: item.get(field) for field in kept} for item in items] if look.columns else items)
        return
    if items:
        print("\n".join(table(columns, items, now, look.header)))
    if look.header:
        say(footer(items) if footer else plural(len(items), noun))


def show_json(value: object) -> None:
    print(json.dumps(value, indent=2))
