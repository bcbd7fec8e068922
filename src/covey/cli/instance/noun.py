"""The noun, and what its verbs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from covey.cli.chosen import chosen as chosen_by
from covey.cli.chosen import on_chosen
from covey.cli.session import Session
from covey.cli.verbs import Manner, Noun

if TYPE_CHECKING:
    from covey.client.client import Change


@click.group(cls=Noun)
def command() -> None:
    """Virtual servers."""


chosen = chosen_by("instance", "state=running tag=web")


def on_instances(
    session: Session,
    name: str | None,
    filter: str,
    manner: Manner,
    make: Callable[[str], Change],
    destructive: bool = False,
) -> int:
    """The same change to the named instance, or to each that matches."""
    return on_chosen(session, "instance", name, filter, manner, make, destructive)


def to_instance(
    method: str, name: str, *rest: object, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
) -> Change:
    from covey.client.client import Change
    from covey.client.connection import path_of

    return Change(method, path_of("instances", name, *rest), body, query or {})
