"""What is logged: where it goes, what it carries, what it hides."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from covey.base import log
from covey.base.errors import BadInput
from covey.base.hiding import HIDDEN

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_a_line_is_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    log.logger("covey.engine").info("step done", step=3, object="disk web1/0")
    (line,) = lines(capsys)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "step done",
        "level": "info",
        "logger": "covey.engine",
        "step": 3,
        "object": "disk web1/0",
    }


def test_a_line_for_people_has_no_colour_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=False)
    log.logger("covey.engine").warning("slow disk", pool="hdd")
    out, err = capsys.readouterr()
    assert out == "" and "\x1b" not in err
    assert "slow disk" in err and "pool=hdd" in err and "warning" in err


def test_loggers_of_others_pass_through_with_the_job_they_belong_to(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger("uvicorn.access").propagate = False
    log.configure(json=True)
    with structlog.contextvars.bound_contextvars(job=412, request="r-1"):
        logging.getLogger("uvicorn.access").info('"%s %s" %d', "GET", "/v1/status?token=abc&all=1", 200)
    (line,) = lines(capsys)
    assert line["event"] == f'"GET /v1/status?token={HIDDEN}&all=1" 200'
    assert (line["job"], line["request"], line["logger"]) == (412, "r-1", "uvicorn.access")


async def test_each_task_has_its_own_job(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)

    async def work(job: int) -> None:
        with structlog.contextvars.bound_contextvars(job=job):
            await asyncio.sleep(0)
            log.logger("covey").info("working", mine=job)

    await asyncio.gather(*(work(job) for job in (1, 2, 3)))
    log.logger("covey").info("idle")
    *working, idle = lines(capsys)
    assert [(line["job"], line["mine"]) for line in working] == [(1, 1), (2, 2), (3, 3)]
    assert "job" not in idle


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True, level="warning")
    log.logger("covey").info("no")
    logging.getLogger("libvirt").info("no")
    log.logger("covey").error("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_an_unknown_level_is_bad_input() -> None:
    with pytest.raises(BadInput, match="loud"):
        log.configure(json=True, level="loud")


@pytest.mark.parametrize(
    "key",
    ["password", "Passwd", "api_token", "secret", "user_data", "user-data", "ssh_private_key", "Authorization"],
)
def test_values_of_keys_that_look_secret_are_hidden(capsys: pytest.CaptureFixture[str], key: str) -> None:
    log.configure(json=True)
    log.logger("covey").info("made", **{key: "hunter2"})
    assert lines(capsys)[0][key] == HIDDEN


def test_secrets_are_found_at_any_depth_and_in_objects() -> None:
    @dataclass(frozen=True)
    class Step:
        password: str

    event = {"a": [{"b": {"token": "hunter2"}}], "step": Step("hunter2"), "ssh_keys": ["ssh-ed25519 AAAA anna"]}
    hidden = log.redact(None, "info", event)
    assert hidden["a"] == [{"b": {"token": HIDDEN}}]
    assert "hunter2" not in str(hidden["step"])
    assert hidden["ssh_keys"] == ["ssh-ed25519 AAAA anna"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"wrote {KEY} to disk", "b3BlbnNzaC1rZXk"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ, cut short", "MHcCAQ"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("fetching https://anna:hunter2@mirror.example/x", "hunter2"),
        ("curl failed: password=hunter2&x=1", "hunter2"),
        (b"token=hunter2", "hunter2"),
        ("Step(user='anna', password='hunter2')", "hunter2"),
        ("""{"api-token": "hunter2", "user": "anna"}""", "hunter2"),
    ],
)
def test_secrets_within_text_are_hidden(text: str | bytes, secret: str) -> None:
    assert secret not in str(log.redact(None, "info", {"event": text}))


def test_text_that_holds_no_secret_stays_as_it_is() -> None:
    text = "https://mirror.example:3142/debian and [::1]:8006 and anna@example.org; the token: expired"
    assert log.redact(None, "info", {"event": text}) == {"event": text}


def test_a_very_long_line_does_not_take_long() -> None:
    for text in ("a-" * 50_000, "passw" * 20_000, "://" * 30_000, "-----BEGIN PRIVATE KEY-----" * 3_000):
        log.redact(None, "info", {"event": text})


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_told_with_its_trace_but_without_its_secrets(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    log.configure(json=as_json)
    try:
        hunter = "password=hunter2"
        raise ValueError(hunter)
    except ValueError:
        log.logger("covey").exception("it broke")
        logging.getLogger("asyncio").exception("it broke there too")
    _, err = capsys.readouterr()
    assert err.count("Traceback") == 2 and err.count("ValueError") >= 2
    assert "hunter2" not in err


def test_the_rest_of_the_ground_floor_does_without_it() -> None:
    modules = "clock, errors, files, run, units"
    program = f"import sys; from covey.base import {modules}; sys.exit('structlog' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", program), check=False, timeout=20).returncode == 0
