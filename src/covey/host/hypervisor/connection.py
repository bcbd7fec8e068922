"""One connection to a libvirtd: opened when needed, opened again after loss, its events brought into asyncio.

libvirt's calls block, so each runs on one of a few threads and is waited for with a limit; libvirt's events come on one more thread,
which serves every connection of the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import libvirt

from covey.base.errors import Unavailable

T = TypeVar("T")

CALL_LIMIT_S = 30.0
THREADS = 8
KEEPALIVE_S = 5  # libvirtd that answers none of KEEPALIVE_COUNT such probes is taken for dead, and waiting calls end
KEEPALIVE_COUNT = 4
REOPEN_AFTER_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # the last one again and again

_LINK_DOMAINS = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
_LINK_CODES = (libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_NO_CONNECT)
_starting = threading.Lock()
_events: list[threading.Thread] = []


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a domain: `kind` is "lifecycle" (with libvirt's event and detail numbers), "device-removed" (with the
    device's alias) or "io-error"."""

    kind: str
    instance: str
    number: int = 0
    detail: int = 0
    device: str = ""


class Connection:
    """`heard` is called in the event loop with each Event, `opened` after each opening save the first."""

    def __init__(self, uri: str, heard: Callable[[Event], None], opened: Callable[[], None]) -> None:
        self._uri = uri
        self._heard = heard
        self._opened = opened
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._connection: Any = None
        self._opening: asyncio.Future[Any] | None = None
        self._opening_since = 0.0
        self._reopening: asyncio.Task[None] | None = None
        self._openings = 0
        self._closed = False

    async def call(self, function: Callable[[Any], T], timeout_s: float = CALL_LIMIT_S) -> T:
        """`function(virConnect)` on a thread. Raises Unavailable when libvirtd does not answer, and passes on libvirtError for what
        libvirtd answered."""
        connection = await self._open()
        try:
            return await self._in_thread(lambda: function(connection), timeout_s)
        except libvirt.libvirtError as error:
            if not self._is_lost(connection, error):
                raise
            self._lost(connection)
            raise self._unavailable(str(error)) from error
        except TimeoutError as error:
            self._lost(connection)
            raise self._unavailable(f"no answer within {timeout_s:g} s") from error

    async def close(self) -> None:
        """End the connection; the object is not used again."""
        self._closed = True
        if self._reopening:
            self._reopening.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await self._in_thread(lambda: _close(connection), CALL_LIMIT_S)
            except (TimeoutError, libvirt.libvirtError):
                pass  # a libvirtd that does not answer has nothing to say to a farewell either
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _open(self) -> Any:
        """All who need a connection wait for the one attempt at it, CALL_LIMIT_S from its beginning. One that hangs longer is not
        begun again beside itself: it ends when libvirtd goes on or dies, and until then whoever comes hears at once that it hangs."""
        if self._closed:
            raise Unavailable("the connection to libvirt is closed", f"libvirt at {self._uri}")
        if self._connection is None:
            attempt = self._opening or self._begin_opening()
            left_s = max(self._opening_since + CALL_LIMIT_S - asyncio.get_running_loop().time(), 0.0)
            try:
                async with asyncio.timeout(left_s):
                    return await asyncio.shield(attempt)
            except (libvirt.libvirtError, TimeoutError) as error:
                raise self._unavailable(str(error) or f"no answer within {CALL_LIMIT_S:g} s") from error
        return self._connection

    def _begin_opening(self) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        self._opening_since = loop.time()
        self._opening = loop.run_in_executor(self._threads, self._connect, loop)
        self._opening.add_done_callback(self._attempted)
        return self._opening

    def _attempted(self, attempt: asyncio.Future[Any]) -> None:
        self._opening = None
        if attempt.cancelled() or attempt.exception():
            return  # whoever waits is told; whoever comes begins anew
        if self._closed:
            threading.Thread(target=_close, args=(attempt.result(),), daemon=True).start()  # the other threads are gone
            return
        self._connection = attempt.result()
        self._openings += 1
        if self._openings > 1:
            self._opened()

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Open and register, on a thread: blocking."""
        _start_events()
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)

        def tell(event: Event) -> None:
            _in_loop(loop, self._heard, event)

        def lifecycle(_connection: Any, domain: Any, number: int, detail: int, _opaque: Any) -> None:
            tell(Event("lifecycle", domain.UUIDString(), number, detail))

        def removed(_connection: Any, domain: Any, device: str, _opaque: Any) -> None:
            tell(Event("device-removed", domain.UUIDString(), device=device))

        def failed(_connection: Any, domain: Any, _path: str, device: str, _action: int, _opaque: Any) -> None:
            tell(Event("io-error", domain.UUIDString(), device=device))

        for kind, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, removed),
            (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR, failed),
        ):
            connection.domainEventRegisterAny(None, kind, callback, None)
        connection.registerCloseCallback(lambda lost, _why, _opaque: _in_loop(loop, self._lost, connection), None)
        return connection

    async def _in_thread(self, function: Callable[[], T], timeout_s: float) -> T:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _is_lost(self, connection: Any, error: Any) -> bool:
        return (
            connection is not self._connection
            or error.get_error_domain() in _LINK_DOMAINS
            or error.get_error_code() in _LINK_CODES
        )

    def _lost(self, connection: Any) -> None:
        """The connection is of no use any more: try for another in the background, so that subscribers hear of it when it is there."""
        if connection is not self._connection or self._closed:
            return
        self._connection = None
        self._threads.submit(_close, connection)
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        waits = iter(REOPEN_AFTER_S)
        wait = next(waits)
        while not self._closed:
            await asyncio.sleep(wait)
            wait = next(waits, wait)
            try:
                await self._open()
            except Unavailable:
                continue  # whoever calls meanwhile gets the error; here it is what is being waited out
            return

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"libvirt does not answer: {why}",
            f"libvirt at {self._uri}",
            "see whether libvirtd runs and its socket is there; guests that run are not touched by its absence",
        )


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], argument: Any) -> None:
    """Call in the event loop, from libvirt's thread. A loop that is closed has nobody left to tell."""
    try:
        loop.call_soon_threadsafe(function, argument)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _close(connection: Any) -> None:
    try:
        connection.unregisterCloseCallback()
    except libvirt.libvirtError:
        pass  # it was never registered, or went with the connection
    try:
        connection.close()
    except libvirt.libvirtError:
        pass  # the other side is gone: closed is what was wanted


def _start_events() -> None:
    """libvirt's own event loop, once a process: registering twice, or after a connection was opened, makes libvirt fail."""
    with _starting:
        if _events:
            return
        libvirt.registerErrorHandler(
            lambda _context, _error: None, None
        )  # else each error is printed to stderr as well as raised
        libvirt.virEventRegisterDefaultImpl()
        thread = threading.Thread(target=_serve_events, name="libvirt events", daemon=True)
        _events.append(thread)
        thread.start()


def _serve_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
