"""What a shell offers when Tab is pressed: names of objects, asked of the server in little time, and files.

The shell runs `covey` with _COVEY_COMPLETE set (the scripts are made by `python -m docs.man`); click finds the place on the line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import CompletionItem

from covey.base.errors import CoveyError

PATIENCE_S = 1.0  # a shell that hangs at Tab is worse than one that offers nothing
MOST = 500
# What is wanted where an option's metavar says so.
OBJECTS = {
    "INSTANCE": "instance",
    "NODE": "node",
    "POOL": "pool",
    "NET": "network",
    "NETWORK": "network",
    "IMAGE": "image",
    "FIREWALL": "firewall",
}
FILES = {"FILE": "file", "DIR": "dir"}


class Hinted(click.types.StringParamType):
    """Text, of which the metavar says what it is a name of."""

    def __init__(self, metavar: str) -> None:
        self._metavar = metavar

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        if self._metavar in FILES:
            return [CompletionItem(incomplete, type=FILES[self._metavar])]
        return names(ctx, OBJECTS[self._metavar], incomplete)


def hint(parameter: click.Parameter) -> None:
    """Give an option whose metavar says what it takes a type that knows how to complete it."""
    metavar = parameter.metavar or ""
    is_text = isinstance(parameter, click.Option) and type(parameter.type) is click.types.StringParamType
    if is_text and metavar in {**OBJECTS, **FILES}:
        parameter.type = Hinted(metavar)


def names(ctx: click.Context, noun: str, incomplete: str) -> list[CompletionItem[Any]]:
    """The names of a noun's objects that begin so; none when they cannot be had at once."""
    items = _ask(ctx, f"{noun}s", {"fields": "name", "filter": f"name={incomplete}*" if incomplete else "", "limit": MOST})
    return [CompletionItem(item["name"]) for item in items]


def jobs(ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    """The numbers of the latest jobs that begin so."""
    items = _ask(ctx, "jobs", {"fields": "id,title,state", "limit": 50})
    found = [item for item in items if str(item["id"]).startswith(incomplete)]
    return [CompletionItem(str(item["id"]), help=f"{item['title']} {item['state']}") for item in found]


def _ask(ctx: click.Context, collection: str, query: dict[str, object]) -> list[dict[str, Any]]:
    from covey.client.connection import Connection, path_of

    try:
        with _at_most(PATIENCE_S):
            connection = Connection.find(os.environ, ctx.find_root().params)
            try:
                items: list[dict[str, Any]] = connection.request("GET", path_of(collection), query=query).json()["items"]
            finally:
                connection.close()
            return items
    except (CoveyError, OSError):
        return []  # whoever presses Tab wants no message


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError within, whatever is waited for."""

    def expire(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
