"""Hears the guests of this machine report that they are ready (what they say, and how: ready.py).

A guest may be hostile: whatever it sends costs a bounded amount of memory and time, and nothing of it is believed but its own state.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE = 16 * 1024  # bytes
CHUNK = 4096
PAUSE_S = 0.1  # after each chunk: a guest that writes without end is heard at 40 KiB a second, and waits
RETRY_S = 3.0  # between attempts at the socket of a guest that is just stopping or starting
MOST_ADDRESSES = 64
LONGEST_WORD = 64
STATUSES = ("done", "degraded", "error")

Reported = Callable[[str, "GuestReport"], None]


@dataclass(frozen=True, slots=True)
class GuestReport:
    """What a guest says of itself: its boot id, its addresses, how cloud-init ended (done, degraded, error) and after how many
    seconds of its uptime."""

    boot: str
    addresses: tuple[str, ...]
    status: str
    seconds: float


class ReadyListener:
    """Connects to the ready channel of each guest that it is told to follow, and calls `reported(instance, report)` in the event loop.
    `channel` tells the socket (Hypervisor.ready_channel)."""

    def __init__(self, channel: Callable[[str], Path], reported: Reported) -> None:
        self._channel = channel
        self._reported = reported
        self._listening: dict[str, asyncio.Task[None]] = {}

    def follow(self, running: Iterable[str]) -> None:
        """Listen to these instances and to no others. Cheap to repeat at every change."""
        wanted = set(running)
        for instance in [known for known in self._listening if known not in wanted]:
            self._listening.pop(instance).cancel()
        for instance in wanted.difference(self._listening):
            self._listening[instance] = asyncio.create_task(self._listen(instance))

    async def close(self) -> None:
        tasks = tuple(self._listening.values())
        self.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, instance: str) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._channel(instance), limit=CHUNK)
            except OSError:
                pass  # between two runs there is no socket
            else:
                try:
                    await self._read(instance, reader)
                except OSError:
                    pass  # QEMU has gone
                finally:
                    writer.close()
            await asyncio.sleep(RETRY_S)

    async def _read(self, instance: str, reader: asyncio.StreamReader) -> None:
        lines = Lines()
        while chunk := await reader.read(CHUNK):
            for line in lines.feed(chunk):
                report = parse_report(line)
                if report:
                    self._reported(instance, report)
            await asyncio.sleep(PAUSE_S)


class Lines:
    """Cuts a stream into lines; one that is too long is passed over whole."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._pending = b""
        self._passing_over = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        if lines and self._passing_over:
            lines, self._passing_over = lines[1:], False
        if len(self._pending) > self._longest:
            self._pending, self._passing_over = b"", True
        return [line for line in lines if len(line) <= self._longest]


def parse_report(line: bytes) -> GuestReport | None:
    """The report in a line; None when it is none. Addresses that are not addresses are left out."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("ready") is not True:
        return None
    boot, status, seconds, addresses = (data.get(name) for name in ("boot", "status", "seconds", "addresses"))
    if not isinstance(boot, str) or len(boot) > LONGEST_WORD or not boot.isprintable():
        return None
    if status not in STATUSES or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        uptime = float(seconds)
    except OverflowError:
        return None
    if not math.isfinite(uptime) or uptime < 0 or not isinstance(addresses, list):
        return None
    return GuestReport(boot, tuple(_addresses(addresses)), str(status), uptime)


def _addresses(words: list[object]) -> Iterable[str]:
    for word in words[:MOST_ADDRESSES]:
        if isinstance(word, str) and len(word) <= LONGEST_WORD:
            try:
                yield str(ipaddress.ip_address(word))
            except ValueError:
                continue
