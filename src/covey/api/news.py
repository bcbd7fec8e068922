"""What a leader tells the controllers that follow: telemetry as differences, progress, and that it still leads. One JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from covey.api.problems import problem_response
from covey.base.errors import CoveyError, NotFound, Unavailable
from covey.model import codec
from covey.model.node import Telemetry
from covey.model.order import Progress
from covey.service.inside import Inside
from covey.service.standing import Blocker

PATH = "/controllers/news"
NEWS = "application/x-ndjson"
Told = dict[str, dict[str, Any]]
log = structlog.get_logger()


def add_news(app: FastAPI, inside: Inside) -> None:
    """The route, for controllers alone."""

    async def show(request: Request) -> Response:
        if not request.scope.get("covey.passed"):
            return problem_response(NotFound("there is nothing at this address", f"GET {PATH}", "see: GET /v1/openapi.json"))
        if inside.standing.lead is None:
            return problem_response(inside.standing.nobody("asked for news of the leader"))
        return StreamingResponse(_news(inside), 200, media_type=NEWS)

    app.add_route(PATH, show, methods=["GET"], include_in_schema=False)


async def _news(inside: Inside) -> AsyncIterator[bytes]:
    told: Told = {}
    seen: dict[str, Telemetry] = {}
    while inside.standing.lead and not inside.closing.is_set():
        view, engine = inside.view, inside.standing.lead.engine
        nodes: dict[str, Any] = {id: None for id in told if id not in view.telemetry}
        for id, telemetry in view.telemetry.items():
            if seen.get(id) is not telemetry:
                nodes[id] = difference(told.get(id, {}), codec.encode(telemetry))
        for id, fields in nodes.items():
            if fields is None:
                told.pop(id), seen.pop(id)
            else:
                told[id], seen[id] = {**told.get(id, {}), **fields}, view.telemetry[id]
        blockers = {job.id: engine.blocked(job.id) for job in view.jobs if job.state == "queued"}
        word = {
            "revision": view.revision,
            "nodes": nodes,
            "progress": {str(id): codec.encode(one) for id, one in inside.standing.lead.nodes.progress.items()},
            "blockers": {str(id): [one.object, one.by] for id, one in blockers.items() if one},
        }
        yield json.dumps(word, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(inside.standing.timings.word_every_s):
                await inside.closing.wait()


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The fields that are another's by now."""
    return {name: value for name, value in after.items() if name not in before or before[name] != value}


class Listening:
    """A follower's ear: keeps the view's telemetry as the leader tells it."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    async def run(self) -> None:
        """For as long as this controller follows; to be cancelled."""
        standing = self._inside.standing
        while True:
            try:
                await self._hear()
            except (httpx2.HTTPError, OSError, CoveyError, ValueError) as error:
                log.info("the leader is not heard", error=str(error) or type(error).__name__)
            await self._inside.clock.sleep(standing.timings.pause_s)

    async def _hear(self) -> None:
        inside, standing = self._inside, self._inside.standing
        way, named = standing.way(), standing.leadership
        if way is None or named is None:
            return
        patience = httpx2.Timeout(standing.timings.stale_after_s)
        told: Told = {}
        async with way.client.stream("GET", PATH, timeout=patience) as answer:
            if answer.status_code != 200:
                raise Unavailable(f"it answered {answer.status_code}", f"node {named.holder}")
            async for line in answer.aiter_lines():
                word = json.loads(line)
                self._take(word, told)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(standing.timings.word_every_s):
                        await inside.feed.reached(word["revision"])
                        standing.freshen()
                if standing.leadership is not None and standing.leadership.epoch != named.epoch:
                    return

    def _take(self, word: dict[str, Any], told: Told) -> None:
        feed, standing = self._inside.feed, self._inside.standing
        first = not told
        for id, fields in word["nodes"].items():
            if fields is None:
                told.pop(id, None)
                feed.tell(id, None)
            else:
                told[id] = {**told.get(id, {}), **fields}
                feed.tell(id, codec.decode(Telemetry, told[id]))
        for id in [id for id in feed.view.telemetry if first and id not in told]:
            feed.tell(id, None)  # the leader before knew it
        standing.progress = {int(id): codec.decode(Progress, one) for id, one in word["progress"].items()}
        standing.blockers = {int(id): Blocker(object, by) for id, (object, by) in word["blockers"].items()}
