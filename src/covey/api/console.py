"""Serial consoles of instances: their log, and a WebSocket to type into; and a picture of their screens."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.api.operation import Call, Operation, Parameter
from covey.api.passing import pass_on_console
from covey.api.problems import problem_response
from covey.base.errors import CoveyError, Refused, check
from covey.model.instance import Instance
from covey.service.access import Principal, check_allowed
from covey.service.inside import Inside
from covey.service.nodes import Terminal

LOG_BYTES = 64 * 1024
ENDED = 1000  # RFC 6455, section 7.4.1
GOING_AWAY = 1001
BROKEN = 1011
MOST_REASON = 120  # bytes of a reason: the frame takes 123 (RFC 6455, section 5.5)
PNG = "image/png"
BYTES = Parameter("bytes", int, "At most so many of the last bytes.", LOG_BYTES, least=1, most=2**20)
log = structlog.get_logger()


async def show_log(call: Call) -> Response:
    instance = call.inside.view.instance(call.path["name"])
    text = await call.inside.nodes.console_log(instance.node, instance.id, call.query["bytes"])
    headers = {"x-content-type-options": "nosniff"}  # a guest wrote it: no browser is to find a page in it
    return Response(text.decode(errors="replace").encode(), 200, headers, "text/plain")


async def show_screen(call: Call) -> Response:
    instance = call.inside.view.instance(call.path["name"])
    state = call.inside.view.observed(instance.id).state
    check(
        state in ("running", "paused"),
        Refused(f"it is {state}: there is nothing on its screen", instance, f"covey instance start {instance.name}"),
    )
    picture = await call.inside.nodes.screenshot(instance.node, instance.id)
    return Response(picture, 200, {"x-content-type-options": "nosniff", "cache-control": "no-store"}, PNG)


def add_console(app: FastAPI, inside: Inside) -> None:
    """The route of the WebSocket: binary frames both ways, what was printed before comes first."""

    async def attach(socket: WebSocket, name: str) -> None:
        principal: Principal = socket.scope["covey.principal"]
        try:
            check_allowed(principal, "console.attach")
            if inside.standing.lead is None:
                await pass_on_console(inside, socket, principal)
                return
            instance = inside.view.instance(name)
            _check_runs(inside.view.observed(instance.id).state, instance)
            async with inside.nodes.console(instance.node, instance.id) as terminal:
                await socket.accept()
                await _converse(inside, socket, terminal)
        except CoveyError as error:
            await _refuse(socket, error)

    app.add_api_websocket_route("/v1/instances/{name}/console", attach, name="attach_console")


def _check_runs(state: str, instance: Instance) -> None:
    """Raises Refused where nobody is at the other end."""
    advice = f"covey instance start {instance.name}; what it printed: covey instance console {instance.name} --log"
    check(state not in ("stopped", "crashed", "missing"), Refused(f"it is {state}: nothing is at its console", instance, advice))


async def _converse(inside: Inside, socket: WebSocket, terminal: Terminal) -> None:
    """Until either side ends, or the doors close."""
    parts: list[asyncio.Task[Any]] = [
        asyncio.create_task(_print(socket, terminal)),
        asyncio.create_task(_type(socket, terminal)),
        asyncio.create_task(inside.closing.wait()),
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    for part in done:
        part.result()
    if parts[1] not in done:
        await socket.close(GOING_AWAY if inside.closing.is_set() else ENDED)


async def _print(socket: WebSocket, terminal: Terminal) -> None:
    while piece := await terminal.read():
        await socket.send_bytes(piece)


async def _type(socket: WebSocket, terminal: Terminal) -> None:
    """Ends when the person goes away."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes") or (message.get("text") or "").encode()
            if data:
                await terminal.write(data)
    except WebSocketDisconnect:
        return


async def _refuse(socket: WebSocket, error: CoveyError) -> None:
    """Before the WebSocket is open, an HTTP answer; after that, a close with the reason."""
    if socket.application_state.name == "CONNECTING":
        await socket.send_denial_response(problem_response(error))
    else:
        await socket.close(BROKEN, error.what.encode()[:MOST_REASON].decode(errors="ignore"))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/instances/{name}/console/log",
        "show_console_log",
        "What the guest printed last",
        "console.read",
        show_log,
        {200: None},
        (BYTES,),
        errors=(404,),
        media_type="text/plain",
        asks_nodes=True,
    ),
    Operation(
        "GET",
        "/v1/instances/{name}/screenshot",
        "show_screenshot",
        "What is on the guest's screen",
        "console.read",
        show_screen,
        {200: None},
        errors=(404, 409),
        media_type=PNG,
        asks_nodes=True,
    ),
)
