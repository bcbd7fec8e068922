"""This terminal as a guest's: raw while attached, as it was afterwards, whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from covey.base.errors import CoveyError

if TYPE_CHECKING:
    from covey.client.console import Console

ESCAPE = b"\x1d"  # Ctrl-]
SILENCE_S = 1.0  # of the guest, after input that is not typed has ended
_PIECE = 4096


def attach(console: Console, name: str) -> int:
    """Join standard input and output to the console until it is left or ends. Returns the exit status. Raises Unavailable when the
    console broke off."""
    typed = sys.stdin.fileno()
    output = _Output(console)
    if not os.isatty(typed):
        return _pipe(console, typed, output)
    print(f"console of {name}; escape: Ctrl-]", file=sys.stderr, flush=True)
    with _ending_signals() as signalled, _raw(typed):
        output.start()
        _type(console, typed, output, signalled)
    print(f"\r\nleft the console of {name}", file=sys.stderr)
    output.check()
    return 0


class _Output:
    """Writes what the guest prints, in a thread of its own, which ends when the console does."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._target = sys.stdout.fileno()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: CoveyError | OSError | None = None
        self.ended, self._end = os.pipe()  # readable once the console has ended
        self.last = time.monotonic()  # when the guest last wrote

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Raises what ended it, unless it was a proper end."""
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while piece := self._console.read():
                self.last = time.monotonic()
                while piece:
                    piece = piece[os.write(self._target, piece) :]
        except (CoveyError, OSError) as error:
            self._error = error
        finally:
            os.close(self._end)


def _type(console: Console, typed: int, output: _Output, signalled: int) -> None:
    """Hand on what is typed until the escape key, or until the console ends, or until `signalled` can be read."""
    while True:
        ready, _, _ = select.select([typed, output.ended, signalled], [], [])
        if output.ended in ready or signalled in ready:
            return
        data = os.read(typed, _PIECE)
        before, escape, _ = data.partition(ESCAPE)
        if (before and not console.write(before)) or escape or not data:
            return


def _pipe(console: Console, typed: int, output: _Output) -> int:
    """Hand on all input, then wait until the guest has been silent for a while."""
    output.start()
    while output.ended not in (ready := select.select([typed, output.ended], [], [])[0]):
        data = os.read(typed, _PIECE) if typed in ready else b""
        if not data or not console.write(data):
            break
    output.last = time.monotonic()
    while (left := output.last + SILENCE_S - time.monotonic()) > 0:
        if select.select([output.ended], [], [], left)[0]:
            break
    output.check()
    return 0


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


class _Ended(BaseException):
    """A signal that ends the program: raised so that the terminal is put right on the way out."""


@contextmanager
def _ending_signals() -> Iterator[int]:
    """SIGTERM and SIGHUP unwind instead of ending the process on the spot; it ends by them all the same, afterwards. Yields a file
    that can be read once one has come: a signal that comes just before a wait begins would not interrupt it."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise _Ended(number)

    signalled, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    before = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield signalled
    except _Ended as ended:
        number = int(ended.args[0])
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(signalled)
        os.close(wake)
