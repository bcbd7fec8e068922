"""The noun itself, and what its verbs share."""

from __future__ import annotations

import click

from covey.cli.verbs import Noun, Number

INDEX = Number(0, 1000)


@click.group(cls=Noun)
def command() -> None:
    """Disks of instances. `covey instance info NAME` shows them with their numbers."""
