"""The door by which guests come that run: /arrivals/ID/control (one message each way, then libvirt's own words), memory and disks, each
carried on to whom it is for; and /arrivals/ID/truth, where the node it came from asks whether it has arrived."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.agent.listen import PEER
from covey.agent.neighbours import SocketOverWeb
from covey.agent.taking_in import Arrivals
from covey.base.errors import CoveyError, Unavailable
from covey.base.identity import Identity
from covey.host.migration.protocol import CONTROL, DISKS, MEMORY, Offer, Pipe
from covey.host.migration.pump import carry
from covey.model import codec
from covey.model.names import check_uuid

log = structlog.get_logger()


def arriving(arrivals: Arrivals) -> Callable[[WebSocket], Awaitable[None]]:
    """The endpoint."""

    async def part(socket: WebSocket, source: str, instance: str, kind: str) -> None:
        await _carry(socket, await arrivals.connect(source, instance, kind))

    async def control(socket: WebSocket, source: str, instance: str) -> None:
        offer = codec.decode(Offer, json.loads(await socket.receive_text()))
        async with arrivals.admitted(source, offer) as description:
            await socket.send_text(json.dumps({"description": description}))
            await _carry(socket, await arrivals.connect(source, instance, CONTROL))

    async def truth(socket: WebSocket, instance: str) -> None:
        generation = json.loads(await socket.receive_text())["generation"]
        await socket.send_text(json.dumps({"arrived": await arrivals.has_arrived(instance, generation)}))

    async def arrive(socket: WebSocket) -> None:
        await socket.accept()
        kind = socket.path_params["kind"]
        who: Identity = socket.scope.get("state", {}).get(PEER, Identity())
        try:
            instance = check_uuid(socket.path_params["instance"])
            if kind == CONTROL:
                await control(socket, who.agent, instance)
            elif kind in (MEMORY, DISKS):
                await part(socket, who.agent, instance, kind)
            else:
                await truth(socket, instance)
            await socket.close()
        except CoveyError as error:
            await _refuse(socket, error)
        except WebSocketDisconnect:
            log.info("whoever brought a guest has gone", kind=kind)

    return arrive


async def _carry(socket: WebSocket, here: Pipe) -> None:
    there = SocketOverWeb(socket.receive_bytes, socket.send_bytes, socket.close, "it came from")
    try:
        await carry(here, there)
    except* Unavailable as group:
        log.info("a guest's way here ended", why=str(group.exceptions[0]))
    finally:
        await here.close()


async def _refuse(socket: WebSocket, error: CoveyError) -> None:
    try:
        await socket.send_text(json.dumps({"error": error.to_json()}))
        await socket.close()
    except (RuntimeError, WebSocketDisconnect):
        log.info("nobody hears that a guest is not let in", error=str(error))
