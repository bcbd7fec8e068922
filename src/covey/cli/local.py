"""local check-config: what needs no controller."""

from __future__ import annotations

import click

from covey.base.config import find_file, known_keys, read_settings, render, values_of
from covey.cli.lists import show_json
from covey.cli.session import Session
from covey.cli.text import say
from covey.cli.verbs import Noun


@click.group(cls=Noun)
def command() -> None:
    """This machine alone, without its controller."""


@command.command(
    "check-config",
    examples=["covey local check-config", "covey local check-config --file new.toml", "covey local check-config --json"],
)
@click.option("-f", "--file", metavar="FILE", help="The file to look at. [COVEY_CONFIG; /etc/covey/covey.toml]")
@click.option("--json", "as_json", is_flag=True, help="What holds, as a JSON object; durations in seconds.")
@click.pass_obj
def check_config(session: Session, /, file: str | None, as_json: bool) -> None:
    """Whether the settings file is sound, and what holds with it. Exits with 2 when it is not."""
    found = find_file(file or "", session.environ)
    values = values_of(read_settings(found))
    if as_json:
        show_json({"file": found, **values})
        return
    say(f"{found}: sound" if found else "there is no settings file: the defaults hold")
    usual = values_of(read_settings(""))
    for key in known_keys():
        own = values[key.name] != usual[key.name]
        say(f"  {key.name:<18} {render(values[key.name]) if own else render(key.default) + '  (default)'}")
