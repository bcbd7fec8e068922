"""The leader's side of agents: orders are repeated until their outcome is known, over lost connections and restarts (P9)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, WebSocketException

from covey.agent.way import REQUEST_TIMEOUT_S, Way
from covey.base.clock import Clock
from covey.base.errors import CoveyError, Unavailable, from_json
from covey.base.log import belongs_to
from covey.model import codec
from covey.model.order import Charge, Epoch, Hello, Inventory, Message, Order, Outcome
from covey.model.pool import Place, Volume
from covey.model.sharing import Share
from covey.model.step import Step
from covey.model.transfer import Content, Found

RECONNECT_S = 0.2  # pause between attempts, doubled up to RECONNECT_MOST_S
RECONNECT_MOST_S = 2.0
INVENTORY_TIMEOUT_S = 120.0
TRANSFER_SILENCE_S = 600.0  # an image is looked at when it has come, a disk before it goes
log = structlog.get_logger()


@dataclass(slots=True)
class _Pending:
    """An order whose outcome is awaited, perhaps by several."""

    id: str
    epoch: Epoch
    step: Step
    undo: bool
    secrets: dict[str, str]
    request: str
    future: asyncio.Future[Outcome]


class LinkEnded(Unavailable):
    """The way to the agent has ended, not the agent: whoever waits for an outcome asks by the node's next link."""


class Link:
    """The connection to one agent. `heard` gets every message but the outcomes that somebody waits for; `met` each hello; `lost` is told when it is gone."""

    def __init__(
        self,
        way: Way,
        epoch: Epoch,
        cluster: Callable[[], str],
        clock: Clock,
        heard: Callable[[str, Message], None],
        met: Callable[[Link, Hello], Any],
        lost: Callable[[Link, str], None],
    ) -> None:
        self.way = way
        self._epoch = epoch
        self._cluster = cluster
        self._clock = clock
        self._heard = heard
        self._met = met
        self._lost = lost
        self._client = way.client()
        self._pending: dict[str, _Pending] = {}
        self._unsent: list[str] = []
        self._acknowledged: list[str] = []
        self._wake = asyncio.Event()
        self._session = ""
        self.node = ""
        self._host = "unknown"

    async def run(self) -> None:
        """Keep the link up for ever."""
        pause = RECONNECT_S
        sender = asyncio.create_task(self._send_forever())
        try:
            while True:
                try:
                    await self._be_linked()
                    pause = RECONNECT_S
                    why = "it ended the connection"
                except (httpx2.HTTPError, OSError, CoveyError, ValueError) as error:
                    why = str(error) or type(error).__name__
                if self._session:
                    log.warning("the agent does not answer", node=self.node, why=why)
                self._session = ""
                self._lost(self, why)
                await self._clock.sleep(pause)
                pause = min(pause * 2, RECONNECT_MOST_S)
        finally:
            for pending in self._pending.values():
                if not pending.future.done():
                    pending.future.set_exception(LinkEnded("nobody goes this way to it any more", f"node {self._host}"))
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await self._client.aclose()

    async def _be_linked(self) -> None:
        """Meet the agent, hand it all orders anew, and hear it until it is gone."""
        answer = await self._client.put("/hello", params={"cluster": self._cluster()}, content=json.dumps(self._epoch))
        hello = codec.decode(Hello, _checked(answer))
        self.node = hello.node
        self._host = hello.telemetry.hostname
        query = {"incarnation": self._epoch[0], "epoch": self._epoch[1]}
        async with self._client.stream(
            "GET", "/stream", params=query, timeout=httpx2.Timeout(REQUEST_TIMEOUT_S, read=self.way.silence_s)
        ) as stream:
            if stream.status_code != 200:
                await stream.aread()
                _checked(stream)
            self._session = hello.session
            self._unsent = list(self._pending)
            self._wake.set()
            await self._met(self, hello)
            async for line in stream.aiter_lines():
                self._take(codec.decode(Message, json.loads(line)))

    def _take(self, message: Message) -> None:
        pending = self._pending.pop(message.task, None) if isinstance(message, Outcome) else None
        if pending is None:
            self._heard(self.node, message)
        elif isinstance(message, Outcome) and not pending.future.done():
            pending.future.set_result(message)

    # --- orders --------------------------------------------------------------------------------------------------------------------
    async def carry_out(self, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool) -> Outcome:
        task = f"{id}.undo" if undo else id
        pending = self._pending.get(task)
        if pending is None:
            future = asyncio.get_running_loop().create_future()
            pending = self._pending[task] = _Pending(id, epoch, step, undo, secrets, belongs_to(), future)
            self._unsent.append(task)
            self._wake.set()
        try:
            return await asyncio.shield(pending.future)
        except asyncio.CancelledError:
            self._pending.pop(task, None)  # nobody waits for it any more
            raise

    def acknowledge(self, task: str) -> None:
        self._acknowledged.append(task)
        self._wake.set()

    async def _send_forever(self) -> None:
        """All orders that came up meanwhile go in one request: a burst of jobs costs few round trips."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._session:
                continue
            tasks, self._unsent = self._unsent, []
            acknowledged, self._acknowledged = self._acknowledged, []
            try:
                if tasks:
                    await self._send([self._pending[task] for task in tasks if task in self._pending])
                if acknowledged:
                    _checked(await self._client.post("/acknowledge", content=json.dumps(acknowledged)))
            except (httpx2.HTTPError, OSError, CoveyError) as error:
                self._unsent = tasks + self._unsent
                self._acknowledged = acknowledged + self._acknowledged
                log.info("orders did not reach the agent; they go again", node=self.node, why=str(error))
                await self._clock.sleep(RECONNECT_S)
                self._wake.set()

    async def _send(self, orders: list[_Pending]) -> None:
        body = [codec.encode(Order(o.id, o.epoch, self._session, o.step, o.undo, o.secrets, o.request)) for o in orders]
        answers = _checked(await self._client.put("/orders", content=json.dumps(body)))
        for order, error in zip(orders, answers, strict=True):
            if error and error["kind"] != Unavailable.__name__:  # that one was meant for an earlier process: it goes again
                task = f"{order.id}.undo" if order.undo else order.id
                self._take(Outcome(task, {}, error))

    # --- questions -----------------------------------------------------------------------------------------------------------------
    async def look_after(self, charge: Charge) -> None:
        _checked(await self._ask("PUT", "/charge", charge))

    async def inventory(self, charge: Charge) -> Inventory:
        return codec.decode(Inventory, _checked(await self._ask("POST", "/inventory", charge, INVENTORY_TIMEOUT_S)))

    async def forget_acts(self, ids: Sequence[str]) -> None:
        """What a person did there is taken in. Raises Unavailable."""
        try:
            _checked(await self._client.post("/local/told", content=json.dumps(list(ids))))
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    async def due_certificate(self) -> str:
        """A signing request when the node's certificate is to be renewed, else "". Raises Unavailable."""
        try:
            return str(_checked(await self._client.get("/certificate"))["request"])
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    async def put_certificate(self, certificate: str, authority: str) -> None:
        wish = json.dumps({"certificate": certificate, "authority": authority})
        try:
            _checked(await self._client.put("/certificate", content=wish))
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    async def share_store(self, share: Share) -> None:
        """Give the node its part of the store. Raises Unavailable, Refused."""
        wish = json.dumps({"epoch": self._epoch, "share": codec.encode(share)})
        try:
            _checked(await self._client.put("/store", content=wish))
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    async def console_log(self, instance: str, size: int) -> bytes:
        """The last `size` bytes at most that a guest printed. Raises Unavailable."""
        return await self._fetch(f"/console/{instance}/log", {"bytes": size})

    async def screenshot(self, instance: str) -> bytes:
        """What is on a guest's screen, as PNG. Raises Unavailable, and what its hypervisor refuses."""
        return await self._fetch(f"/screenshot/{instance}", {})

    async def _fetch(self, path: str, query: Mapping[str, int]) -> bytes:
        try:
            answer = await self._client.get(path, params=dict(query))
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error
        if answer.status_code != 200:
            _checked(answer)
        return answer.content

    async def ask_guest(self, instance: str, verb: str, wish: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """What a guest's own agent answers: see agent/guest.py. Raises Unavailable, and what the guest's machine refuses."""
        try:
            answer = await self._client.post(f"/guest/{instance}/{verb}", content=json.dumps(dict(wish)), timeout=timeout_s)
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error
        return dict(_checked(answer))

    async def receive(self, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]) -> Found:
        """Have an image taken in. Raises Unavailable, what the node refuses, and what `pieces` raise: then nothing is left of it."""
        query = {"template": place.template, "path": place.path, "format": format, "sha256": sha256}
        try:
            answer = await self._client.put(f"/uploads/{upload}", params=query, content=pieces, timeout=TRANSFER_SILENCE_S)
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error
        return codec.decode(Found, _checked(answer))

    async def discard(self, place: Place, upload: str) -> None:
        query = {"template": place.template, "path": place.path}
        try:
            _checked(await self._client.delete(f"/uploads/{upload}", params=query))
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    @contextlib.asynccontextmanager
    async def export(self, volume: Volume, format: str) -> AsyncIterator[Content]:
        """What a volume shows. Raises Unavailable, and what the node refuses."""
        wish = json.dumps({"volume": codec.encode(volume), "format": format})
        request = self._client.build_request("POST", "/export", content=wish, timeout=TRANSFER_SILENCE_S)
        try:
            answer = await self._client.send(request, stream=True)
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error
        try:
            if answer.status_code != 200:
                await answer.aread()
                _checked(answer)
            yield Content(int(answer.headers["content-length"]), self._pieces(answer))
        finally:
            await answer.aclose()

    async def _pieces(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():  # as it comes: to gather larger pieces costs more than it saves
                yield piece
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    async def _ask(self, method: str, path: str, charge: Charge, timeout_s: float = REQUEST_TIMEOUT_S) -> httpx2.Response:
        try:
            return await self._client.request(method, path, content=json.dumps(codec.encode(charge)), timeout=timeout_s)
        except (httpx2.HTTPError, OSError) as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"its agent does not answer: {str(error) or type(error).__name__}", f"node {self._host}", "see: covey status"
        )

    @contextlib.asynccontextmanager
    async def console(self, instance: str) -> AsyncIterator[Terminal]:
        """A session on a guest's console. Raises Unavailable."""
        try:
            socket = await self.way.console(f"/console/{instance}")
        except (OSError, WebSocketException) as error:
            raise self._silent(error) from error
        terminal = Terminal(socket, instance)
        try:
            yield terminal
        finally:
            await socket.close()


async def take_share_back(way: Way, epoch: Epoch) -> None:
    """Have a machine that is no node any more give up its part of the store. Raises Unavailable."""
    try:
        async with way.client() as client:
            _checked(await client.delete("/store", params={"incarnation": epoch[0], "epoch": epoch[1]}))
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(f"it does not answer: {error}", "the node that was removed") from error


class Terminal:
    """One person's session on a guest's serial console, over the agent."""

    def __init__(self, socket: ClientConnection, instance: str) -> None:
        self._socket = socket
        self._instance = instance

    async def read(self) -> bytes:
        """The next piece of output, b"" when the guest's run has ended. Raises Unavailable when the console cannot be had."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosedOK:
            return b""
        except ConnectionClosed as closed:
            why = closed.rcvd.reason if closed.rcvd else "the agent went away"
            raise Unavailable(why, f"instance {self._instance}", "attach again when it runs") from closed

    async def write(self, data: bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed as closed:
            raise Unavailable("its console is closed", f"instance {self._instance}", "attach again when it runs") from closed


def _checked(answer: httpx2.Response) -> Any:
    """The JSON of an answer. Raises the CoveyError that it carries."""
    if answer.status_code == 200:
        return answer.json()
    try:
        raise from_json(answer.json())
    except ValueError:
        raise Unavailable(f"the agent answered {answer.status_code}", "agent", "see its log") from None
