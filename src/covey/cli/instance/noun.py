"""The noun, and what its verbs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from covey.base.errors import BadInput, check
from covey.cli.change import Task, carry_out, carry_out_many
from covey.cli.session import Session
from covey.cli.verbs import Manner, Noun, named

if TYPE_CHECKING:
    from covey.client.client import Change

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Noun)
def command() -> None:
    """Virtual servers."""


def chosen(function: F) -> F:
    """Decorator: one instance by NAME, or many by --filter."""
    option = click.option(
        "--filter", metavar="TEXT", default="", help="All that match, in place of a name: 'state=running tag=web'."
    )
    result: F = named("instance", required=False)(option(function))
    return result


def on_instances(
    session: Session,
    name: str | None,
    filter: str,
    manner: Manner,
    make: Callable[[str], Change],
    destructive: bool = False,
) -> int:
    """The same change to the named instance, or to each that matches. Raises BadInput unless exactly one of the two is said."""
    check(
        bool(name) != bool(filter),
        BadInput("name one instance, or say which by --filter", "instance", "covey instance list shows them"),
    )
    if name:
        return carry_out(session, make(name), manner, destructive)
    found = session.client.list("instances", filter=filter, fields=("name",)).items
    tasks = [Task(item["name"], make(item["name"])) for item in found]
    return carry_out_many(session, tasks, "instance", manner, destructive)


def to_instance(method: str, name: str, *rest: object, body: Mapping[str, Any] | None = None) -> Change:
    from covey.client.client import Change
    from covey.client.connection import path_of

    return Change(method, path_of("instances", name, *rest), body)
