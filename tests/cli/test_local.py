"""What the command line does without a controller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covey.client.door import LocalDoor, find_door
from covey.main.layout import choose
from tests.cli.conftest import Covey


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "covey.toml"


def test_a_sound_file_is_shown_with_what_holds(covey: Covey, file: Path) -> None:
    file.write_text('[log]\nlevel = "debug"\n[jobs]\nkeep_for = "36h"\n')
    outcome = covey("local", "check-config", "--file", str(file))
    assert outcome.status == 0
    assert f"{file}: sound" in outcome.out
    assert 'log.level          "debug"\n' in outcome.out
    assert 'jobs.keep_for      "1d 12h"\n' in outcome.out
    assert 'log.form           "text"  (default)' in outcome.out
    told = json.loads(covey("local", "check-config", "-f", str(file), "--json").out)
    assert told["log.level"] == "debug" and told["jobs.keep_for"] == 36 * 3600 and told["file"] == str(file)


def test_a_mistake_is_bad_input(covey: Covey, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[log]\nlvel = 1\n")
    monkeypatch.setenv("COVEY_CONFIG", str(file))
    outcome = covey("local", "check-config")
    assert outcome.status == 2
    assert outcome.err == f"covey: {file} line 2: there is no key log.lvel\n  try: did you mean log.level?\n"


def test_the_command_line_finds_the_state_directory_that_the_file_names(file: Path) -> None:
    file.write_text('state = "/srv/covey"\n')
    environ = {"COVEY_CONFIG": str(file)}
    assert find_door(environ, {}) == LocalDoor("/srv/covey")
    assert find_door({**environ, "COVEY_STATE": "/srv/other"}, {}) == LocalDoor("/srv/other")


def test_what_is_said_goes_before_the_file(file: Path) -> None:
    file.write_text('state = "/srv/covey"\nhosts = "fake"\nnetns = "blue"\n[jobs]\nkeep = 500\n')
    choices = choose(str(file), state=None, hosts="real", netns="")
    assert (str(choices.state), choices.hosts, choices.netns, choices.jobs.keep) == ("/srv/covey", "real", "", 500)
    assert choose(str(file), state="/tmp/x").arguments() == [
        *("--state", "/tmp/x", "--hosts", "fake", "--netns", "blue", "--listen", "", "--config", str(file))
    ]
