"""What a shell is offered at Tab: by a process of its own, as shells ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from docs import man

from covey.cli.complete import PATIENCE_S
from tests.cli.server import FakeServer, Reply, Stream


def offered(line: str, **environment: str) -> list[str]:
    """What completes the last word of `line` ("" after a space)."""
    words = line.split(" ")
    asked = {"_COVEY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "covey.cli"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def names(*known: str) -> Reply:
    return Reply(200, {"items": [{"name": name} for name in known], "next": None})


def test_nouns_and_verbs_are_offered_without_a_server(state: Path) -> None:
    assert offered("covey ins") == ["plain,instance"]
    assert "plain,status" in offered("covey ")
    assert offered("covey instance st") == ["plain,start", "plain,stop"]
    assert "plain,--reason" in offered("covey instance stop --re")


def test_names_of_objects_are_asked_of_the_server(server: FakeServer) -> None:
    server.on("GET", "/v1/instances", names("web1", "web2"))
    assert offered("covey instance stop we") == ["plain,web1", "plain,web2"]
    (asked,) = server.asked
    assert asked.query["filter"] == "name=we*" and asked.query["fields"] == "name"


def test_the_values_of_options_are_completed_too(server: FakeServer) -> None:
    server.on("GET", "/v1/pools", names("ssd"))
    assert offered("covey disk add web1 5G --pool ") == ["plain,ssd"]
    assert offered("covey instance add web1 --user-data we") == ["file,we"]


def test_jobs_are_offered_by_their_numbers(server: FakeServer) -> None:
    items = [{"id": number, "title": "instance add web1", "state": "running"} for number in (412, 398)]
    server.on("GET", "/v1/jobs", {"items": items, "next": None})
    assert offered("covey job watch 4") == ["plain,412"]


def test_the_server_that_the_line_names_is_asked(server: FakeServer, state: Path) -> None:
    server.on("GET", "/v1/images", names("debian-12"))
    assert offered(f"covey --state {state} image info ", COVEY_STATE="/nowhere") == ["plain,debian-12"]


def test_without_an_answer_nothing_is_offered_and_nothing_said(state: Path) -> None:
    assert offered("covey instance stop ") == []
    assert offered("covey instance stop ", COVEY_STATE="", COVEY_SERVER="http://wrong") == []


def test_a_server_that_is_slow_is_not_waited_for(server: FakeServer) -> None:
    server.on("GET", "/v1/instances", Stream((), hold=True))
    began = time.monotonic()
    assert offered("covey instance stop ") == []
    assert time.monotonic() - began < 3 * PATIENCE_S


def test_each_shell_gets_a_script_that_it_can_read(tmp_path: Path) -> None:
    scripts = man.completions()
    assert set(scripts) == {"covey.bash", "covey.zsh", "covey.fish"}
    for name, text in scripts.items():
        assert "_COVEY_COMPLETE" in text and "%(" not in text
        shell = shutil.which(name.rpartition(".")[2])
        if shell:
            (tmp_path / name).write_text(text)
            subprocess.run([shell, "-n", str(tmp_path / name)], check=True, timeout=20)


@pytest.mark.timeout(60)
def test_bash_itself_completes_a_line(server: FakeServer, tmp_path: Path) -> None:
    server.on("GET", "/v1/instances", names("web1"))
    program = tmp_path / "covey"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m covey.cli "$@"\n')
    program.chmod(0o755)
    script = f"""{man.completions()["covey.bash"]}
COMP_WORDS=(covey instance stop w) COMP_CWORD=3
_covey_completion covey w stop
echo "${{COMPREPLY[@]}}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("web1\n", "")
