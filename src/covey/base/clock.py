"""Time as a thing that is passed in. Nothing above `host/` reads a clock of its own (T3)."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks. CLOCK_BOOTTIME counts a suspended machine's time too (S7)."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def render_time(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-11-20T05:46:00.123Z."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(seconds * 1000))).strftime("%Y-%m-%dT%H:%M:%S.%f")[
        :-3
    ] + "Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
