"""Server-sent events (the WHATWG HTML standard, section 9.2): an endless answer that begins, stays alive and ends well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from covey.service.inside import Inside
from covey.service.listing import dumps

KEEPALIVE_S = 15.0  # proxies cut what is silent for longer
MEDIA_TYPE = "text/event-stream"


def sse(name: str, document: object, id: str = "") -> bytes:
    head = f"id: {id}\nevent: {name}\n" if id else f"event: {name}\n"
    return head.encode() + b"data: " + dumps(document) + b"\n\n"


async def news_or_end(inside: Inside, news: asyncio.Event, seconds: float) -> bool:
    """Wait for `news` for at most so long; False once the doors are closing."""
    waiters = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(inside.closing.wait())]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
    news.clear()
    return not inside.closing.is_set()


def stream_response(pieces: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(pieces, 200, {"cache-control": "no-cache", "x-accel-buffering": "no"}, MEDIA_TYPE)
