"""A node's API as an outsider meets it: HTTP over the socket in its state directory. Shares no code with Covey (T7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2

ANSWER_LIMIT_S = 10.0
AGAIN_S = 0.1


class Refusal(Exception):
    """It was answered, and refused: nothing was changed."""


class Silence(Exception):
    """There was no answer, or one that says that nobody can do it now: it may be asked again."""


class Doors:
    """The doors of all nodes; any of them may be asked."""

    def __init__(self, states: Mapping[str, Path]) -> None:
        """`states` are the nodes' state directories by name."""
        self._clients = {
            name: httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(uds=str(state / "covey.sock")),
                base_url="http://covey",
                timeout=ANSWER_LIMIT_S,
            )
            for name, state in states.items()
        }

    @property
    def nodes(self) -> list[str]:
        return list(self._clients)

    async def ask(self, node: str, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = "") -> Any:
        """What one node answers. Raises Refusal and Silence."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            answer = await self._clients[node].request(method, f"/v1/{path}", json=body, headers=headers)
        except (httpx2.HTTPError, OSError) as error:
            raise Silence(f"{node}: {error!r}") from error
        if answer.status_code >= 500:
            raise Silence(f"{node}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code >= 400:
            raise Refusal(answer.json().get("detail") or answer.text[:300])
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    async def ask_any(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = "", within: float = 120.0
    ) -> Any:
        """What the first node answers that does, asked by turns. Raises Refusal, and Silence when none did in time."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            for node in self.nodes:
                try:
                    return await self.ask(node, method, path, body, key)
                except Silence as silence:
                    if asyncio.get_running_loop().time() > deadline:
                        raise Silence(f"nobody answered {method} {path} within {within:g} s; last {silence}") from silence
            await asyncio.sleep(AGAIN_S)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


async def until(claim: Callable[[], Any], within: float, otherwise: Callable[[], str]) -> None:
    """Wait until `claim` (a coroutine function) is true. Raises TimeoutError with what `otherwise` says."""
    deadline = asyncio.get_running_loop().time() + within
    while not await claim():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"not within {within:g} s: {otherwise()}")
        await asyncio.sleep(0.2)
