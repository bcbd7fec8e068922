"""A disk as the body of an answer: at this door and at that of the API."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from covey.base.errors import CoveyError
from covey.base.sockets import LINE, widen
from covey.model.transfer import Content

log = structlog.get_logger()


async def opened(content: AbstractAsyncContextManager[Content]) -> Response:
    """The answer that hands it out, and closes it however that ends. Raises what opening it raises."""
    stack = AsyncExitStack()
    return _HandingOut(await stack.enter_async_context(content), stack)


class _HandingOut(StreamingResponse):
    def __init__(self, content: Content, stack: AsyncExitStack) -> None:
        headers = {"content-length": str(content.length), "cache-control": "no-store", "x-content-type-options": "nosniff"}
        super().__init__(content.pieces, 200, headers, "application/octet-stream")
        self._stack = stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """What breaks off is cut short: whoever reads it sees that it is less than was announced."""
        line = scope.get("state", {}).get(LINE)
        if line:
            widen(line)
        async with self._stack:
            try:
                await super().__call__(scope, receive, send)
            except ClientDisconnect:
                log.info("nobody reads the disk any more")
            except CoveyError as error:
                log.warning("handing out a disk broke off", error=str(error))
