"""The one door to subprocesses: argument lists, never a shell, always a time limit.

A failed command is printed so that it can be pasted; secrets go in by `stdin`, never by argv.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from covey.base.errors import StepFailed, Unavailable

KEPT = 64 * 1024  # bytes of output kept of a command followed line by line


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left: its exit status and what it wrote (bytes, undecoded)."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def pasteable(argv: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(argv)


def explain(argv: Sequence[str], status: int, stderr: bytes) -> str:
    """One sentence on how a command ended. A negative `status` is a signal, as in subprocess(3)."""
    tail = stderr.decode(errors="replace").strip()[-2000:]
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        how = f"was ended by signal {name}"
    else:
        how = f"ended with status {status}"
    return f"`{pasteable(argv)}` {how}" + (f": {tail}" if tail else "")


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    object: object = "",
    hint: str = "",
) -> Completed:
    """Run a command to its end and return what it left.

    `env` is added to a clean environment (PATH, HOME, LANG=C.UTF-8). `on_line` gets each line of its output (both streams) as it
    comes; then only the last 64 KiB are kept. The command gets a process group of its own, which is killed when `timeout_s` seconds
    have passed or the caller is cancelled.

    Raises Unavailable when the program is not installed, StepFailed when it fails (unless `check` is false) or takes too long;
    both name `object`.
    """
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        **(env or {}),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if on_line else asyncio.subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except NotADirectoryError as error:
        raise Unavailable(f"`{pasteable(argv)}` cannot be started in {cwd}", object, hint) from error
    except PermissionError as error:
        raise Unavailable(f"`{pasteable(argv)}` may not be started here", object, hint or f"ls -l {argv[0]}") from error
    except FileNotFoundError as error:
        if cwd is not None and str(error.filename) == str(cwd):
            raise Unavailable(f"`{pasteable(argv)}` cannot be started: {cwd} is not there", object, hint) from error
        raise Unavailable(
            f"the program {argv[0]} is not installed (wanted: `{pasteable(argv)}`)", object, hint or f"install {argv[0]}"
        ) from error
    try:
        async with asyncio.timeout(timeout_s):
            if on_line:
                stdout, stderr = await _follow(process, stdin, on_line), b""
            else:
                stdout, stderr = await process.communicate(stdin)
    except TimeoutError as error:
        await _kill(process)
        raise StepFailed(f"`{pasteable(argv)}` did not end within {timeout_s:g} s and was killed", object, hint) from error
    except BaseException:
        await _kill(process)
        raise
    status = process.returncode if process.returncode is not None else -1
    if check and status != 0:
        raise StepFailed(explain(argv, status, stderr or stdout), object, hint)
    return Completed(tuple(argv), status, stdout, stderr)


async def _follow(process: asyncio.subprocess.Process, stdin: bytes | None, on_line: Callable[[str], None]) -> bytes:
    """Hand on each line of output (carriage returns count as line ends: progress bars) and keep the tail."""
    assert process.stdout is not None
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    kept = b""
    pending = b""
    while chunk := await process.stdout.read(65536):
        kept = (kept + chunk)[-KEPT:]
        *lines, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line.strip():
                on_line(line.decode(errors="replace").rstrip())
        pending = pending[-KEPT:]
    if pending.strip():
        on_line(pending.decode(errors="replace").rstrip())
    await process.wait()
    return kept


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the command's whole process group and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself in the meantime
    await process.wait()
