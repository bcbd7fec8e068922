"""instance console: a raw terminal while attached, as it was afterwards, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, unix_serve

from tests.cli.terminal import ENVIRONMENT, LIMIT_S, PROGRAM, on_terminal

HISTORY = b"booting ...\r\nlogin: "


def echo(guest: ServerConnection) -> None:
    """A guest that has printed something and says again what is typed, in capitals; `q` ends its run, `x` breaks its line."""
    guest.send(HISTORY)
    try:
        while True:
            typed = guest.recv(LIMIT_S)
            assert isinstance(typed, bytes)
            if b"q" in typed:
                guest.close(1000)
                return
            if b"x" in typed:
                guest.close(1011, "the agent went away")
                return
            guest.send(b"<" + typed.upper() + b">")
    except ConnectionClosed:
        return  # the person left


@contextmanager
def a_guest(state: Path, refuse: Callable[[ServerConnection, Request], Response | None] | None = None) -> Iterator[list[str]]:
    paths: list[str] = []

    def handle(guest: ServerConnection) -> None:
        assert guest.request is not None
        paths.append(guest.request.path)
        echo(guest)

    with unix_serve(handle, str(state / "covey.sock"), process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield paths
        finally:
            server.shutdown()
            thread.join(LIMIT_S)


@pytest.fixture
def guest(state: Path) -> Iterator[list[str]]:
    with a_guest(state) as paths:
        yield paths


def test_history_comes_first_then_what_is_typed_goes_both_ways(guest: list[str], state: Path) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        terminal.expect("login: ")
        assert terminal.seen.index("escape: Ctrl-]") < terminal.seen.index("booting")
        assert terminal.is_raw()
        terminal.type("root\r")
        terminal.expect("<ROOT\r>")
        terminal.type("\x03")
        terminal.expect("<\x03>")
        terminal.type("\x1d")
        assert terminal.end() == 0
        assert not terminal.is_raw()
    assert guest == ["/v1/instances/web1/console"]


def test_what_was_typed_before_the_escape_key_still_arrives(guest: list[str], state: Path) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        terminal.expect("login: ")
        terminal.type("q\x1d")
        assert terminal.end() == 0
        assert not terminal.is_raw()


def test_the_end_of_the_guests_run_ends_the_console(guest: list[str], state: Path) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        terminal.expect("login: ")
        terminal.type("q")
        assert terminal.end() == 0
        assert not terminal.is_raw()


def test_a_line_that_breaks_is_told_on_a_terminal_put_right(guest: list[str], state: Path) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        terminal.expect("login: ")
        terminal.type("x")
        assert terminal.end() == 3
        assert not terminal.is_raw()
        assert "covey: console of instance web1: the agent went away" in terminal.seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(guest: list[str], state: Path, number: int) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        terminal.expect("login: ")
        assert terminal.is_raw()
        terminal.signal(number)
        assert terminal.end() == -number
        assert not terminal.is_raw()
        assert "Traceback" not in terminal.seen


def test_without_a_terminal_input_is_piped_through(guest: list[str], state: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "instance", "console", "web1"],
        input=b"reboot\n",
        capture_output=True,
        env={**ENVIRONMENT, "COVEY_STATE": str(state)},
        timeout=LIMIT_S,
        check=True,
    )
    assert done.stdout == HISTORY + b"<REBOOT\n>"
    assert done.stderr == b""


def test_a_reader_that_has_enough_ends_the_console(guest: list[str], state: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "instance", "console", "web1"],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "COVEY_STATE": str(state)},
        timeout=LIMIT_S,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


def test_a_refusal_is_told_as_any_other(state: Path) -> None:
    def refuse(guest: ServerConnection, request: Request) -> Response:
        body = b'{"title": "Unavailable", "detail": "it does not run", "object": "instance web1", "hint": "start it"}'
        response = guest.respond(503, "")
        response.headers["Content-Type"] = "application/problem+json"
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(body))
        response.body = body
        return response

    with a_guest(state, refuse), on_terminal(state, "instance", "console", "web1") as terminal:
        assert terminal.end() == 3
        assert "covey: instance web1: it does not run" in terminal.seen
        assert not terminal.is_raw()


def test_no_server_is_no_console(state: Path) -> None:
    with on_terminal(state, "instance", "console", "web1") as terminal:
        assert terminal.end() == 3
        assert "no Covey answers there" in terminal.seen
