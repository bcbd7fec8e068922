"""Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response

from covey.api.bodies import moment
from covey.api.documents import EventPage
from covey.api.operation import FILTER, Call, Operation, Parameter, json_response
from covey.api.stream import KEEPALIVE_S, MEDIA_TYPE, news_or_end, sse, stream_response
from covey.base.errors import BadInput, Refused, check, require
from covey.model.event import Cursor, parse_cursor, render_cursor
from covey.service import documents
from covey.service.filters import NO_FILTER, parse_filter
from covey.service.inside import Inside

USUAL = 1_000  # events in an answer
FIELDS = frozenset({"kind", "object", "text", "job"})
AT_ONCE = 500  # events of a stream between two looks at the doors
SINCE = Parameter(
    "since", str, "A time (RFC 3339) or the cursor of an event: what came later.", "", longest=60, example="2026-11-20T05:46:00Z"
)
LIMIT = Parameter("limit", int, f"At most so many, the latest; absent or 0 is {USUAL}.", 0, most=20_000)
LAST_EVENT_ID = Parameter("Last-Event-ID", str, "The cursor of the last event that came: what follows it.", "", longest=60)


async def show(call: Call) -> Response:
    query, log = call.query, call.inside.events
    wanted = parse_filter(query["filter"], FIELDS) if query["filter"] else NO_FILTER
    limit = query["limit"] or USUAL
    cursor = parse_cursor(query["since"])
    if cursor:
        found = require(
            log.after(cursor), Refused("events as old as that are not kept", "since", "ask by time, or begin without since")
        )
    else:
        found = log.since(moment(query["since"], "since") if query["since"] else 0.0, 20_000)
    items = [document for document in map(documents.event, found) if wanted(document)]
    items = items[:limit] if cursor else items[-limit:]
    return json_response({"items": items, "next": items[-1]["cursor"] if items else None})


async def follow(call: Call) -> Response:
    given = call.header("last-event-id") or call.query["since"]
    cursor = parse_cursor(given) if given else call.inside.events.last
    check(cursor is not None, BadInput(f"{given[:40]!r} is no cursor", "Last-Event-ID", "give the id of an event of this stream"))
    return stream_response(_events(call.inside, cursor or (0, 0, 0)))


async def _events(inside: Inside, cursor: Cursor) -> AsyncIterator[bytes]:
    """All events from a cursor on; when that is too old, "reset" says where it goes on."""
    news = asyncio.Event()
    inside.events.listen(news.set)
    try:
        yield b": events follow\n\n"
        while True:
            fresh = inside.events.after(cursor, AT_ONCE)
            if fresh is None:
                cursor = inside.events.last
                yield sse("reset", {"cursor": render_cursor(cursor)}, render_cursor(cursor))
                continue
            if fresh:
                yield b"".join(sse("event", documents.event(event), render_cursor(event.cursor)) for event in fresh)
                cursor = fresh[-1].cursor
                if len(fresh) == AT_ONCE:
                    continue
            elif not news.is_set():
                if not await news_or_end(inside, news, KEEPALIVE_S):
                    return
                if inside.events.last == cursor:
                    yield b": still here\n\n"
                continue
            news.clear()
    finally:
        inside.events.ignore(news.set)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/events",
        "list_events",
        "What happened, oldest first",
        "event.read",
        show,
        {200: EventPage},
        (SINCE, LIMIT, FILTER),
        errors=(409,),
    ),
    Operation(
        "GET",
        "/v1/events/stream",
        "follow_events",
        "Events as they happen (event event); resumes by Last-Event-ID",
        "event.read",
        follow,
        {200: None},
        (SINCE,),
        (LAST_EVENT_ID,),
        media_type=MEDIA_TYPE,
    ),
)
