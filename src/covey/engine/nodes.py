"""How the engine sees nodes: a protocol, so that it neither knows transports nor hosts."""

from __future__ import annotations

from typing import Protocol

from covey.model.order import Epoch, Outcome
from covey.model.step import Step


class Nodes(Protocol):
    async def carry_out(
        self, node: str, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool = False
    ) -> Outcome:
        """Have the node's agent carry a step out, or take it back, and wait for the outcome however long that takes, over any number
        of lost connections and restarts of the agent: the order is repeated and joins the task that is under way."""
        ...

    def acknowledge(self, node: str, task: str) -> None:
        """The outcome is recorded: the agent may forget it."""
        ...

    async def console_tail(self, node: str, instance: str) -> str:
        """The last lines that a guest wrote to its console; "" when they cannot be had."""
        ...
