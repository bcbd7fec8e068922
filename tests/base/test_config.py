"""The settings file: what it may say, and how it is told what is wrong with it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from covey.base.config import (
    Settings,
    find_file,
    find_looseness,
    known_keys,
    parse_settings,
    read_settings,
    render_default,
    values_of,
)
from covey.base.errors import BadInput

FILE = "/etc/covey/covey.toml"


def wrong(text: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_settings(text, FILE)
    return caught.value


def test_no_file_and_an_empty_one_mean_the_defaults() -> None:
    assert read_settings("") == Settings() == parse_settings("", FILE)


def test_what_is_said_holds_and_all_else_stays() -> None:
    settings = parse_settings('state = "/srv/covey"\n[log]\nform = "json"\n[jobs]\nkeep_for = "12h"\n', FILE)
    assert (settings.state, settings.log.form, settings.log.level) == ("/srv/covey", "json", "info")
    assert (settings.jobs.keep_for, settings.jobs.keep) == (12 * 3600, 10_000)


def test_the_commented_default_says_every_key_and_is_the_default_when_uncommented() -> None:
    text = render_default()
    assert parse_settings(text, FILE) == Settings()
    lines = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    given = tomllib.loads("\n".join(lines))
    assert parse_settings("\n".join(lines), FILE) == Settings()
    named = {f"{table}.{name}" for table, inner in given.items() if isinstance(inner, dict) for name in inner}
    assert named | {name for name, value in given.items() if not isinstance(value, dict)} == {key.name for key in known_keys()}


def test_every_key_says_what_it_is_for() -> None:
    assert all(len(key.about) > 10 for key in known_keys())
    assert set(values_of(Settings())) == {key.name for key in known_keys()}


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ('\nstaet = "/x"\n', " line 2", "there is no key staet", "did you mean state?"),
        ('[log]\n# a comment\nlevle = "info"\n', " line 3", "there is no key log.levle", "did you mean log.level?"),
        ("[frob]\nx = 1\n", " line 1", "there is no key frob", "there are: state, hosts"),
        ('log.level = "loud"\n', " line 1", "log.level: 'loud' is not known there", "choose one of debug, info"),
        ("[jobs]\nkeep = true\n", " line 2", "jobs.keep: it must be a whole number from 100", "such as 100"),
        ('[jobs]\nkeep = "many"\n', " line 2", "jobs.keep: it must be a whole number", "without quotes"),
        ("[jobs]\nkeep = 3\n", " line 2", "jobs.keep: it must be a whole number", "such as 100"),
        ("[jobs]\nkeep_for = 30\n", " line 2", "jobs.keep_for: it must be a duration", "30d"),
        ('[jobs]\nkeep_for = "soon"\n', " line 2", "jobs.keep_for: 'soon' is not a duration", "such as"),
        ('[jobs]\nkeep_for = "1s"\n', " line 2", "jobs.keep_for: it must be a duration from 1h", "30d"),
        ('[metrics]\ninstances = "no"\n', " line 2", "metrics.instances: it must be true or false", "without quotes"),
        ('state = "here"\n', " line 1", "state: it must be the path of a directory", "/var/lib/covey"),
        ('listen = "nowhere"\n', " line 1", "listen: 'nowhere' is not HOST:PORT", "0.0.0.0:7443"),
        ("netns = 7\n", " line 1", "netns: it must be text", "quotes"),
        ('log = "info"\n', " line 1", "log is a table", "write [log]"),
        ("state = \n", "", "it is not TOML", "mend that line"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_remedy(text: str, where: str, what: str, hint: str) -> None:
    error = wrong(text)
    assert error.object == FILE + where
    assert what in error.what
    assert hint in error.hint


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_settings(str(tmp_path / "none.toml"))
    (tmp_path / "odd.toml").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="UTF-8"):
        read_settings(str(tmp_path / "odd.toml"))


def test_a_file_that_others_can_change_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "covey.toml"
    assert find_looseness("") == find_looseness(str(file)) == ""
    file.write_text("")
    file.chmod(0o644)
    assert find_looseness(str(file)) == ""
    file.chmod(0o666)
    assert "everybody can write" in find_looseness(str(file))
    file.chmod(0o644)
    os.chown(file, 12345, -1)
    assert "user 12345" in find_looseness(str(file))


def test_a_named_file_goes_before_the_environments() -> None:
    assert find_file("a.toml", {"COVEY_CONFIG": "b.toml"}) == "a.toml"
    assert find_file("", {"COVEY_CONFIG": "b.toml"}) == "b.toml"
