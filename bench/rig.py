"""What the benchmarks share: a Covey of their own on pretended hosts, a lean HTTP client, and floors to compare with."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COVEY = ROOT / "bin" / "covey"
SCRATCH = Path(os.environ.get("COVEY_TEST_SCRATCH", "/var/tmp"))
START_WITHIN_S = 60.0
NO_ANSWER = 3  # exit status of the command line (C)


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print only the last line: one JSON object")
    return parser.parse_args()


def report(given: argparse.Namespace, figures: dict[str, float]) -> None:
    """Figures for people, then the one line for programs."""
    rounded = {name: round(value, 3) for name, value in figures.items()}
    if not given.json:
        for name, value in rounded.items():
            print(f"{name:28} {value}")
    print(json.dumps(rounded))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cvb", dir=SCRATCH))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Up:
    """A `covey up` of our own. `pids` are those of controller and agent."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self._options = options
        self._log = (state.parent / f"{state.name}.log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [COVEY, "up", "--state", self.state, *self._options], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + START_WITHIN_S
        while not (self._answers() and len(self.pids) == 2):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"covey up did not start: see {self._log.name}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        done = subprocess.run([COVEY, "node", "list"], env=self.environment, capture_output=True, check=False)
        return done.returncode != NO_ANSWER

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "COVEY_STATE": str(self.state)}

    @property
    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def covey(self, *words: str) -> str:
        return subprocess.run([COVEY, *words], env=self.environment, check=True, capture_output=True, text=True).stdout

    def cpu_s(self) -> float:
        """CPU seconds that controller and agent have used."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL for every process of it, at once."""
        pids = [self.process.pid, *self.pids]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()


class Http:
    """One keep-alive connection to Covey's socket: HTTP/1.1 without the cost of a client library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, state: Path) -> Http:
        return cls(*await asyncio.open_unix_connection(str(state / "covey.sock"), limit=2**26))

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: covey", f"content-length: {len(content)}", "content-type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        length = int(found.get("content-length", 0))
        return int(head[0].split()[1]), await self._reader.readexactly(length) if length else b"", found

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        status, content, _ = await self.ask(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {content.decode()[:500]}")
        return json.loads(content)

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def connections(state: Path, number: int) -> AsyncIterator[list[Http]]:
    opened = [await Http.open(state) for _ in range(number)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


def percentile(values: list[float], fraction: float = 0.5) -> float:
    return median(values) if fraction == 0.5 else sorted(values)[int(fraction * (len(values) - 1))]


def once(work: list[str], environment: dict[str, str]) -> float:
    """Seconds that a command takes."""
    begun = time.monotonic()
    subprocess.run(work, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun
