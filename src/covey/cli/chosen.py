"""The same change to one object by its name, or to many by --filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from covey.base.errors import BadInput, check
from covey.cli.change import Task, carry_out, carry_out_many
from covey.cli.session import Session
from covey.cli.verbs import Manner, named

if TYPE_CHECKING:
    from covey.client.client import Change

F = TypeVar("F", bound=Callable[..., Any])


def chosen(noun: str, example: str = "name=web*", one: Callable[[Any], Any] | None = None) -> Callable[[F], F]:
    """Decorator: one object by NAME, or by the argument `one`; or many by --filter."""
    option = click.option("--filter", metavar="TEXT", default="", help=f"All that match, in place of a name: '{example}'.")

    def decorate(function: F) -> F:
        result: F = (one or named(noun, required=False))(option(function))
        return result

    return decorate


def on_chosen(
    session: Session,
    noun: str,
    name: str | None,
    filter: str,
    manner: Manner,
    make: Callable[[str], Change],
    destructive: bool = False,
) -> int:
    """The same change to the named object, or to each that matches. Raises BadInput unless exactly one of the two is said."""
    check(
        bool(name) != bool(filter),
        BadInput(f"name one {noun}, or say which by --filter", noun, f"covey {noun} list shows them"),
    )
    if name:
        return carry_out(session, make(name), manner, destructive)
    found = session.client.list(f"{noun}s", filter=filter, fields=("name",)).items
    tasks = [Task(item["name"], make(item["name"])) for item in found]
    return carry_out_many(session, tasks, noun, manner, destructive)
