"""The man pages: every command and option is in one, and roff finds nothing in them that it would obey by mistake."""

from __future__ import annotations

import re

import click
import pytest
from docs import man

from covey.base.config import known_keys
from covey.cli.reference import commands

PAGES = man.pages()


def plain(text: str) -> str:
    """A page as it reads, roughly."""
    return re.sub(r"\\f[BIR]|\\&", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


@pytest.mark.parametrize(
    ("path", "command"), [(context.command_path, command) for command, context in commands()], ids=lambda value: str(value)[:40]
)
def test_every_command_has_its_place_with_its_options(path: str, command: click.Command) -> None:
    name = "-".join(path.split()[:2])
    page = plain(PAGES[f"{name}.1"])
    assert path in page
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(option in page for option in parameter.opts), f"{path} {parameter.opts}"


def test_every_setting_is_explained() -> None:
    page = plain(PAGES["covey.toml.5"])
    assert all(f"{key.name} =" in page for key in known_keys())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_begins_as_pages_do_and_obeys_only_known_requests(name: str) -> None:
    lines = PAGES[name].splitlines()
    assert lines[0].startswith(".TH ")
    assert '.SH "NAME"' in lines
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".TP", ".PP", ".B", ".nh", ".ad", ".nf", ".fi", ".RS", ".RE", ".br"}


def test_text_that_looks_like_a_request_is_only_text() -> None:
    assert man.roff(".so /etc/passwd\n'x \\n") == "\\&.so /etc/passwd\n\\(aqx \\en"
