"""The reference page of the command line, made from the commands' own help: `python -m covey.cli.reference > docs/reference/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from covey.cli.main import covey

_HEAD = """# The command line

This page is made from the help of the commands (`python -m covey.cli.reference`); a test keeps it true.
"""


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command and all below it, each with its context."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from walk(below, click.Context(below, info_name=name, parent=context, **command.context_settings))


def commands() -> Iterator[tuple[click.Command, click.Context]]:
    return walk(covey, click.Context(covey, info_name="covey", **covey.context_settings))


def reference() -> str:
    """The whole page."""
    sections = [
        f"\n{'#' * (2 + context.command_path.count(' '))} {context.command_path}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
        for command, context in commands()
    ]
    return _HEAD + "".join(sections)


if __name__ == "__main__":
    sys.stdout.write(reference())
