"""node drain, evacuate, undrain."""

from __future__ import annotations

import click

from covey.cli.change import carry_out
from covey.cli.session import Session
from covey.cli.verbs import Manner, Verb, changes, named


@click.command(
    "drain", cls=Verb, change=True, examples=["covey node drain n2 --reason 'new memory'", "covey node drain n2 --dry-run"]
)
@named("node")
@changes
@click.pass_obj
def drain(session: Session, /, name: str, manner: Manner) -> int:
    """Let it host nothing new, and bring what runs there to other nodes.

    What is stopped stays; with it: covey node evacuate. What cannot go, and why, is shown. It hosts again after: covey node undrain.
    """
    return _ask(session, name, "drain", manner)


@click.command("evacuate", cls=Verb, change=True, examples=["covey node evacuate n2 --reason 'goes back to the shop'"])
@named("node")
@changes
@click.pass_obj
def evacuate(session: Session, /, name: str, manner: Manner) -> int:
    """Let it host nothing new, and bring all that can go to other nodes, what is stopped too."""
    return _ask(session, name, "evacuate", manner)


@click.command("undrain", cls=Verb, change=True, examples=["covey node undrain n2"])
@named("node")
@changes
@click.pass_obj
def undrain(session: Session, /, name: str, manner: Manner) -> int:
    """Let it host again. What went to other nodes stays there; what has not gone yet stays here."""
    return _ask(session, name, "undrain", manner)


def _ask(session: Session, name: str, verb: str, manner: Manner) -> int:
    from covey.client.client import Change
    from covey.client.connection import path_of

    return carry_out(session, Change("POST", path_of("nodes", name, verb), {}), manner)
