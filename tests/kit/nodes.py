"""Nodes that do as they are told: what the engine's tests have in place of agents."""

from __future__ import annotations

import asyncio
from typing import Any

from covey.base.errors import CoveyError
from covey.model.order import Epoch, Outcome
from covey.model.step import Step


class ScriptedNodes:
    """Implements engine.nodes.Nodes. Every order succeeds at once, with `results` of its step's kind, unless it was told otherwise. What
    was ordered is in `orders` ("1.0", "1.0.undo"), in order."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.epochs: list[Epoch] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.acknowledged: list[str] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.undone: dict[str, dict[str, Any]] = {}  # likewise, of what is taken back
        self.tail = ""
        self._errors: dict[str, list[CoveyError]] = {}
        self._held: dict[str, asyncio.Event] = {}
        self._takes_s: dict[str, float] = {}

    def fail(self, task: str, error: CoveyError, times: int = 1) -> None:
        """The task, or any of a step kind, fails that often."""
        self._errors.setdefault(task, []).extend([error] * times)

    def hold(self, task: str) -> asyncio.Event:
        """The task gives no answer until the event that is returned is set."""
        return self._held.setdefault(task, asyncio.Event())

    def slow(self, kind: str, seconds: float) -> None:
        """Steps of that kind take so long."""
        self._takes_s[kind] = seconds

    async def carry_out(
        self, node: str, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool = False
    ) -> Outcome:
        task = f"{id}.undo" if undo else id
        self.orders.append(task)
        self.epochs.append(epoch)
        self.secrets[task] = secrets
        await asyncio.sleep(self._takes_s.get(step.kind, 0.0))
        if task in self._held:
            await self._held[task].wait()
        for name in (task, f"{step.kind}.undo" if undo else step.kind):
            if self._errors.get(name):
                return Outcome(task, {}, self._errors[name].pop(0).to_json(), f"{task} said no\n")
        return Outcome(task, (self.undone if undo else self.results).get(step.kind, {}), None, f"{task} went well\n")

    def acknowledge(self, node: str, task: str) -> None:
        self.acknowledged.append(task)

    async def console_tail(self, node: str, instance: str) -> str:
        return self.tail
