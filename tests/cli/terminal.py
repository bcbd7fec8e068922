"""The program itself on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 20.0
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "xterm"}
# As a person's shell starts it: whoever runs the tests in the background may have told them to ignore Ctrl-C.
PROGRAM = ["env", "--default-signal=INT", sys.executable, "-m", "covey.cli"]


class Terminal:
    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.slave = slave
        self.seen = ""
        self._master = master

    def expect(self, text: str) -> None:
        """Read on until `text` is on the screen."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come; seen: {self.seen!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += os.read(self._master, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the program's end, reading what it still says. Returns its exit status."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; seen: {self.seen!r}"
            self._read(0.02)
        while self._read(0.0):
            pass
        return self.process.returncode

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    def _read(self, wait_s: float) -> bool:
        ready = bool(select.select([self._master], [], [], wait_s)[0])
        if ready:
            self.seen += os.read(self._master, 4096).decode(errors="replace")
        return ready


@contextmanager
def on_terminal(state: Path, *arguments: str) -> Iterator[Terminal]:
    """covey with these arguments, on a terminal, with the server of this state directory."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**ENVIRONMENT, "COVEY_STATE": str(state)},
        start_new_session=True,
    )
    try:
        yield Terminal(process, master, slave)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
        os.close(master)
        os.close(slave)
