"""A command line in this process, with a fake server to talk to."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from covey.cli.main import run
from tests.cli.server import FakeServer, serving

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Covey = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times on the wall clock are the same wherever the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("COVEY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COVEY_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def server(state: Path) -> Iterator[FakeServer]:
    with serving(state) as fake:
        yield fake


@pytest.fixture
def covey(state: Path, monkeypatch: pytest.MonkeyPatch) -> Covey:
    """covey("instance", "list") carries that command line out, without a terminal."""

    def call(*arguments: str, stdin: str = "") -> Outcome:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with redirect_stdout(out), redirect_stderr(err):
            status = run(arguments)
        return Outcome(status, _written(out), _written(err))

    return call


def _written(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@pytest.fixture
def golden(covey: Covey) -> Callable[..., Outcome]:
    """Carry a command line out and compare all that a person sees with tests/cli/golden/NAME.txt (REGOLD=1 writes it anew)."""

    def check(name: str, *arguments: str) -> Outcome:
        outcome = covey(*arguments)
        seen = f"$ covey {' '.join(arguments)}\n{outcome.out}"
        if outcome.err:
            seen += f"--- standard error\n{outcome.err}"
        seen += f"--- exit {outcome.status}\n"
        file = GOLDEN / f"{name}.txt"
        if os.environ.get("REGOLD"):
            file.write_text(seen)
        assert seen == file.read_text()
        return outcome

    return check
