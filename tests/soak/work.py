"""The changes that are asked for while faults happen, and the book of what was acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.soak.doors import Doors, Refusal, Silence, until

ENDED = ("succeeded", "failed", "cancelled", "superseded", "needs_repair")
MOST_PASSING = 4  # instances that come and go
SETTLED_WITHIN_S = 240.0
PAUSE_S = (0.1, 0.8)


@dataclass
class Book:
    """Every job that was acknowledged: what it is to do, and how it ended. `hosts` is what was said of instances by name, in order."""

    jobs: dict[int, str] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)
    deeds: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def enter(self, job: int, what: str, name: str = "") -> None:
        self.jobs[job] = what
        if name:
            self.deeds.setdefault(name, []).append((what, job))

    def is_there(self, name: str) -> bool | None:
        """Whether the instance must be there by what has succeeded; None when an end left that open."""
        present: bool | None = False
        for what, job in self.deeds.get(name, ()):
            end = self.ends.get(job)
            if end == "succeeded" and what in ("add", "remove"):
                present = what == "add"
            elif end == "needs_repair":
                present = None
        return present


class Work:
    """Hands in changes by any door, one after the other, until told to stop. `guests` are those that always run."""

    def __init__(self, doors: Doors, rng: random.Random, guests: list[str]) -> None:
        self.book = Book()
        self.moved: set[str] = set()  # guests that a job was to move
        self.migrations = 0
        self.has_migrate = True
        self._doors = doors
        self._rng = rng
        self._guests = guests
        self._passing: list[str] = []
        self._number = 0
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._enough.clear()
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        self._enough.set()
        if self._task:
            await self._task

    async def settled(self) -> None:
        """Wait until every acknowledged job has ended. Raises TimeoutError that names those which have not."""

        async def have_ended() -> bool:
            for job in self._open():
                try:
                    state = (await self._doors.ask_any("GET", f"jobs/{job}"))["state"]
                except Refusal as refusal:
                    state = f"lost: {refusal}"
                if state in ENDED or state.startswith("lost"):
                    self.book.ends[job] = state
                    if state == "succeeded" and self.book.jobs[job] == "migrate":
                        self.migrations += 1
            return not self._open()

        await until(have_ended, SETTLED_WITHIN_S, lambda: f"jobs {[(job, self.book.jobs[job]) for job in self._open()]} go on")

    def lost(self) -> list[str]:
        return [f"job {job} ({self.book.jobs[job]}): {end}" for job, end in self.book.ends.items() if end.startswith("lost")]

    def ends(self) -> dict[str, int]:
        return dict(Counter(end.partition(":")[0] for end in self.book.ends.values()))

    def _open(self) -> list[int]:
        return [job for job in self.book.jobs if job not in self.book.ends]

    async def _run(self) -> None:
        while not self._enough.is_set():
            await self._one()
            try:
                async with asyncio.timeout(self._rng.uniform(*PAUSE_S)):
                    await self._enough.wait()
            except TimeoutError:
                continue

    async def _one(self) -> None:
        self._number += 1
        deeds = [self._note, self._add, self._restart, self._snapshot, self._migrate]
        await self._rng.choice([*deeds, self._remove, self._remove] if len(self._passing) > 1 else deeds)()

    async def _hand_in(self, what: str, method: str, path: str, body: Mapping[str, Any], name: str = "") -> bool:
        """Ask, again under the same key for as long as nobody answers. Whether it was taken in as a job."""
        key = f"soak-{self._number}-{self._rng.getrandbits(32):08x}"
        for _ in range(20):
            try:
                answer = await self._doors.ask_any(method, path, body, key, within=30.0)
            except Refusal:
                return False
            except Silence:
                if self._enough.is_set():
                    return False  # it may or may not have been taken in: nobody was promised anything
                continue
            if isinstance(answer, dict) and "id" in answer and "steps" in answer:
                self.book.enter(answer["id"], what, name)
                return True
            return False
        return False

    async def _note(self) -> None:
        await self._hand_in("note", "PATCH", "cluster", {"notes": f"note {self._number}"})

    async def _add(self) -> None:
        if len(self._passing) >= MOST_PASSING:
            return await self._remove()
        name = f"s{self._number}"
        if await self._hand_in("add", "POST", "instances", {"name": name, "image": "tick", "memory": 16 * 2**20}, name):
            self._passing.append(name)
        return None

    async def _remove(self) -> None:
        name = self._passing.pop(self._rng.randrange(len(self._passing)))
        if not await self._hand_in("remove", "DELETE", f"instances/{name}?purge=true", {}, name):
            self._passing.append(name)

    async def _restart(self) -> None:
        if not self._passing:
            return
        name = self._rng.choice(self._passing)
        await self._hand_in("stop", "POST", f"instances/{name}/stop", {"graceful_s": 0}, name)
        self._number += 1
        await self._hand_in("start", "POST", f"instances/{name}/start", {}, name)

    async def _snapshot(self) -> None:
        if not self._passing:
            return
        name = self._rng.choice(self._passing)
        await self._hand_in("snapshot", "POST", f"instances/{name}/snapshots", {"name": f"v{self._number}"}, name)

    async def _migrate(self) -> None:
        name = self._rng.choice(self._guests)
        if self.has_migrate and await self._hand_in("migrate", "POST", f"instances/{name}/migrate", {}):
            self.moved.add(name)
