"""The law of the command line (design/cli.md), kept by walking all commands."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from covey.cli.main import ALONE, NOUNS
from covey.cli.reference import commands, reference
from covey.cli.verbs import Verb
from tests.cli.conftest import Covey

SHORT = {"-f", "-n", "-y", "-q"}
VERBS = {"list", "info", "add", "modify", "remove"} | {
    "prepare", "invite", "join", "leave", "equip", "clear", "move", "drain", "evacuate", "undrain",
    "init", "verify", "ping", "build", "start", "stop", "reboot", "reinstall", "rename", "reset", "console", "grow", "watch", "cancel",
    "check-config", "backup", "reconcile", "recover", "compact",
    "restore", "export", "bundle", "revert", "clone",
    "flatten", "import", "migrate",
    "up", "down", "status", "shell", "cut", "heal", "kill", "pause", "resume", "power",
    "exec", "screenshot", "set-password", "set-ssh-keys",
}  # fmt: skip
ONE_AT_A_TIME = {
    "covey instance add",
    "covey instance restore",
    "covey instance rename",
    "covey instance clone",
}  # what they name is not there yet
ALL = [(context.command_path, command, context) for command, context in commands()]
LEAVES = [(path, command) for path, command, _ in ALL if not isinstance(command, click.Group)]


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts}


def test_every_command_is_a_noun_and_a_verb() -> None:
    for path, _ in LEAVES:
        words = path.split()[1:]
        assert words[0] in ALONE if len(words) == 1 else (words[0] in NOUNS and words[1] in VERBS and len(words) == 2), path


def test_nouns_are_singular() -> None:
    assert not [noun for noun in NOUNS if noun.endswith("s")]


def test_options_are_long_save_four() -> None:
    for path, command in LEAVES:
        for name in options(command):
            assert name.startswith("--") or name in SHORT, f"{path} {name}"
            assert name == name.lower() and "_" not in name, f"{path} {name}"


def test_a_short_option_means_the_same_everywhere() -> None:
    meanings = {"-f": "--file", "-n": "--dry-run", "-y": "--yes", "-q": "--quiet"}
    for path, command in LEAVES:
        for parameter in command.params:
            for short in SHORT & set(parameter.opts):
                assert meanings[short] in parameter.opts, f"{path} {short}"


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[path for path, _ in LEAVES])
def test_every_command_has_examples_of_itself(path: str, command: click.Command) -> None:
    assert isinstance(command, Verb)
    assert command.examples
    assert all(path in example for example in command.examples)
    assert all(len(example) <= 78 for example in command.examples)


def test_every_change_can_be_shown_first() -> None:
    changing = [(path, command) for path, command in LEAVES if isinstance(command, Verb) and command.change]
    assert len(changing) >= 25
    for path, command in changing:
        assert {"--dry-run", "-n"} <= options(command), path


def test_what_is_not_marked_as_a_change_has_no_dry_run() -> None:
    for path, command in LEAVES:
        assert isinstance(command, Verb)
        assert command.change or "--dry-run" not in options(command), path


def test_every_list_can_be_filtered_cut_and_read_by_programs() -> None:
    lists = [(path, command) for path, command in LEAVES if path.endswith(" list")]
    assert len(lists) == 14
    for path, command in lists:
        assert {"--filter", "--columns", "--json", "--no-header"} <= options(command), path


def test_every_column_can_be_asked_for_by_the_name_that_is_told() -> None:
    """A dash is read as an underscore, as the fields of the API are written."""
    for path, command in LEAVES:
        told = [option.help or "" for option in command.params if isinstance(option, click.Option) and "--columns" in option.opts]
        assert not any("-" in columns for columns in told), path


def test_every_info_can_be_read_by_programs() -> None:
    for path, command in LEAVES:
        if path.endswith((" info", " status")):
            assert "--json" in options(command), path


def test_every_verb_that_acts_on_instances_takes_a_filter() -> None:
    for path, command in LEAVES:
        if path.startswith("covey instance ") and isinstance(command, Verb) and command.change and path not in ONE_AT_A_TIME:
            assert "--filter" in options(command), path


def test_every_option_and_command_says_what_it_is_for() -> None:
    for path, command, _ in ALL:
        assert command.help, path
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.name}"


@pytest.mark.parametrize("path", [path for path, _, _ in ALL])
def test_help_fits_eighty_columns(covey: Covey, path: str) -> None:
    outcome = covey(*path.split()[1:], "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: {path}")
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_the_lines_on_the_front_page_name_every_command() -> None:
    for path, command, _ in ALL:
        words = path.split()[1:]
        if len(words) == 1:
            assert command.short_help or command.help, path


def test_the_reference_page_is_what_the_commands_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert page.read_text() == reference(), "make it anew: python -m covey.cli.reference > docs/reference/cli.md"
