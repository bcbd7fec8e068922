"""The agent's doors: HTTP over a unix socket of the machine, for its own root only; and, once the machine belongs to a cluster of several,
over TLS for the controllers of its nodes (agent/listen.py).

PUT /hello (a leader says its epoch), PUT /orders (many at once; answers at once), POST /acknowledge, PUT /charge, POST /inventory,
POST /guest/ID/VERB, GET /screenshot/ID, GET /images/ID, PUT and DELETE /uploads/ID (an image that was sent), POST /export (a disk, as one stream),
POST /volumes/parts (a volume, for the one node that it was offered to),
GET /stream (a JSON message a line, for ever), GET /console/ID/log and WebSocket /console/ID; GET, PUT and DELETE /membership, and
POST /membership/request (a signing request for its certificate); GET and PUT /certificate (the request when it is due, and what came of it);
PUT and DELETE /store (its part of the store that several share, with the keys for it);
WebSocket /arrivals/ID/PART (a guest that comes from another node while it runs: agent/arriving.py).
GET /local, POST /local/start and /local/stop (`covey local`: by the unix socket only), and POST /local/told (a leader has taken them in).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from covey.agent.agent import Agent
from covey.agent.arriving import arriving
from covey.agent.guest import GUEST_VERBS
from covey.agent.handing_out import opened
from covey.agent.keeping import Keeping
from covey.agent.listen import PEER
from covey.agent.membership import Memberships
from covey.base.errors import BadInput, CoveyError, NotFound, Refused, check, require
from covey.base.identity import Identity
from covey.host.guest.protocol import ConsoleSession
from covey.model import codec
from covey.model.local import STOP
from covey.model.membership import Membership
from covey.model.names import check_uuid
from covey.model.order import Charge, Order
from covey.model.pool import Place, Volume
from covey.model.sharing import Share

MOST_REASON = 120  # bytes: a closing frame takes 123 (RFC 6455, section 5.5)


def _door_of(request: Request) -> str:
    """The address by which somebody came over the network; "" for this machine's socket."""
    host, port = request.scope.get("server") or ("", None)
    host = host.removeprefix("::ffff:")  # as a door for both families has IPv4's
    return "" if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def make_app(agent: Agent, memberships: Memberships, keeping: Keeping) -> Starlette:
    async def hello(request: Request) -> Response:
        incarnation, epoch = json.loads(await request.body())
        memberships.check_is_of(request.query_params.get("cluster", ""))
        return _json(codec.encode(await agent.greet((incarnation, epoch))))

    async def put_orders(request: Request) -> Response:
        answers: list[CoveyError | None] = []
        for encoded in json.loads(await request.body()):
            try:
                answers += agent.accept([codec.decode(Order, encoded)])
            except BadInput as error:  # of a kind that this release does not know: the others are not to suffer for it
                answers.append(error)
        return _json([error and error.to_json() for error in answers])

    async def acknowledge(request: Request) -> Response:
        agent.tasks.acknowledge(json.loads(await request.body()))
        return _json({})

    async def put_charge(request: Request) -> Response:
        charge = codec.decode(Charge, json.loads(await request.body()))
        memberships.follow(charge, _door_of(request))
        await agent.look_after(charge)
        return _json({})

    async def show_membership(request: Request) -> Response:
        return _json(
            {
                "membership": memberships.present and codec.encode(memberships.present),
                "node": agent.node,
                "is_led": agent.is_led,
                "epoch": agent.tasks.epochs.epoch,
            }
        )

    async def request_certificate(request: Request) -> Response:
        return _json({"request": memberships.ask(), "node": agent.node})

    async def join_cluster(request: Request) -> Response:
        wish = json.loads(await request.body())
        membership = codec.decode(Membership, wish["membership"])
        memberships.join(membership, wish["certificate"], wish["authority"], bool(wish["is_new"]))
        if wish["is_new"]:
            agent.hang_up()  # whoever led it before the cluster did
        return _json({})

    async def due_certificate(request: Request) -> Response:
        wanted = memberships.due()
        agent.note("certificate", memberships.trouble)
        return _json({"request": wanted})

    async def put_certificate(request: Request) -> Response:
        wish = json.loads(await request.body())
        memberships.renew(wish["certificate"], wish["authority"])
        agent.note("certificate", memberships.trouble)
        return _json({})

    async def take_share(request: Request) -> Response:
        wish = json.loads(await request.body())
        agent.tasks.epochs.obey((wish["epoch"][0], wish["epoch"][1]))
        await asyncio.to_thread(keeping.take, codec.decode(Share, wish["share"]))
        return _json({})

    async def drop_share(request: Request) -> Response:
        agent.tasks.epochs.obey((int(request.query_params["incarnation"]), int(request.query_params["epoch"])))
        await asyncio.to_thread(keeping.drop)
        return _json({})

    async def leave_cluster(request: Request) -> Response:
        memberships.leave()
        await asyncio.to_thread(keeping.drop)
        agent.hang_up()
        return _json({})

    async def inventory(request: Request) -> Response:
        return _json(codec.encode(await agent.inventory(codec.decode(Charge, json.loads(await request.body())))))

    async def stream(request: Request) -> Response:
        agent.tasks.epochs.obey((int(request.query_params["incarnation"]), int(request.query_params["epoch"])))

        async def lines() -> AsyncIterator[bytes]:
            async for message in agent.stream():
                yield json.dumps(codec.encode(message), separators=(",", ":")).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def ask_guest(request: Request) -> Response:
        wish = json.loads(await request.body())
        ask = GUEST_VERBS[request.path_params["verb"]]
        return _json(await ask(agent.host.hypervisor, check_uuid(request.path_params["instance"]), wish))

    async def screenshot(request: Request) -> Response:
        picture = await agent.host.hypervisor.screenshot(check_uuid(request.path_params["instance"]))
        return Response(picture, media_type="image/png")

    async def show_image(request: Request) -> Response:
        """An image's file, for another node: in parts, if it was cut short (RFC 9110, Range)."""
        image = check_uuid(request.path_params["image"])
        require(await agent.host.images.facts(image), NotFound("it is not on this machine", f"image {image}"))
        return FileResponse(agent.host.images.path(image), media_type="application/octet-stream")

    async def receive(request: Request) -> Response:
        query, upload = request.query_params, check_uuid(request.path_params["upload"])
        uploads = agent.host.uploads
        found = await uploads.receive(_place(request), upload, query["format"], query["sha256"], request.stream())
        return _json(codec.encode(found))

    async def discard(request: Request) -> Response:
        await agent.host.uploads.ensure_absent(_place(request), check_uuid(request.path_params["upload"]))
        return _json({})

    async def export(request: Request) -> Response:
        wish = json.loads(await request.body())
        attachment = agent.host.attachment(codec.decode(Volume, wish["volume"]))
        return await opened(agent.host.exports.opened(attachment, wish["format"]))

    async def hand_over(request: Request) -> Response:
        """Only to the node that a leader named, whoever else may give orders here."""
        wish = json.loads(await request.body())
        volume = codec.decode(Volume, wish["volume"])
        who: Identity = request.scope.get("state", {}).get(PEER, Identity())
        may = await agent.host.storage(volume.place).offered_to(volume)
        check(
            may and who.agent == may,
            Refused(f"it was not offered to {who.agent or 'whoever asks'}", f"volume {volume.id}", "its job was taken back"),
        )
        return await opened(agent.host.exports.in_parts(agent.host.attachment(volume), bool(wish["above"]), int(wish["start"])))

    async def show_local(request: Request) -> Response:
        guests = [codec.encode(domain) for domain in await agent.local.guests()]
        acts = [codec.encode(act) for act in agent.local.acts.all]
        return _json({"guests": guests, "acts": acts, "is_alone": memberships.is_alone, "is_led": agent.is_led})

    async def act_locally(request: Request) -> Response:
        check(PEER not in request.scope.get("state", {}), Refused("that is for root of this machine", "agent"))
        wish = json.loads(await request.body())
        named, by, reason = str(wish["name"]), str(wish["by"]), str(wish["reason"])
        if request.path_params["verb"] == STOP:
            return _json(codec.encode(await agent.local.stop(named, float(wish["graceful_s"]), by, reason)))
        check(
            memberships.is_alone or wish["nowhere_else"] is True,
            Refused(
                "nobody said that it surely runs on no other machine", f"instance {named}", "covey local start asks for that"
            ),
        )
        return _json(codec.encode(await agent.local.start(named, by, reason, agent.last_charge)))

    async def forget_acts(request: Request) -> Response:
        agent.local.acts.forget(json.loads(await request.body()))
        return _json({})

    async def console_log(request: Request) -> Response:
        size = int(request.query_params.get("bytes", "0"))
        log = agent.host.guests.console_tail(check_uuid(request.path_params["instance"]), size)
        return Response(log, media_type="application/octet-stream")

    async def console(socket: WebSocket) -> None:
        await socket.accept()
        try:
            session = await agent.host.guests.attach(check_uuid(socket.path_params["instance"]))
        except CoveyError as error:
            await socket.close(4000, error.what.encode()[:MOST_REASON].decode(errors="ignore"))
            return
        await join(socket, session)

    return Starlette(
        routes=[
            Route("/hello", hello, methods=["PUT"]),
            Route("/orders", put_orders, methods=["PUT"]),
            Route("/acknowledge", acknowledge, methods=["POST"]),
            Route("/charge", put_charge, methods=["PUT"]),
            Route("/inventory", inventory, methods=["POST"]),
            Route("/stream", stream),
            Route("/guest/{instance}/{verb}", ask_guest, methods=["POST"]),
            Route("/screenshot/{instance}", screenshot),
            Route("/images/{image}", show_image),
            Route("/uploads/{upload}", receive, methods=["PUT"]),
            Route("/uploads/{upload}", discard, methods=["DELETE"]),
            Route("/export", export, methods=["POST"]),
            Route("/volumes/parts", hand_over, methods=["POST"]),
            Route("/membership", show_membership, methods=["GET"]),
            Route("/membership", join_cluster, methods=["PUT"]),
            Route("/membership", leave_cluster, methods=["DELETE"]),
            Route("/store", take_share, methods=["PUT"]),
            Route("/store", drop_share, methods=["DELETE"]),
            Route("/certificate", due_certificate, methods=["GET"]),
            Route("/certificate", put_certificate, methods=["PUT"]),
            Route("/membership/request", request_certificate, methods=["POST"]),
            Route("/local", show_local),
            Route("/local/told", forget_acts, methods=["POST"]),
            Route("/local/{verb:str}", act_locally, methods=["POST"]),
            Route("/console/{instance}/log", console_log),
            WebSocketRoute("/console/{instance}", console),
            WebSocketRoute("/arrivals/{instance}/{kind}", arriving(agent.arrivals)),
        ],
        exception_handlers={CoveyError: _refuse, ValueError: _refuse, ClientDisconnect: _nobody},
    )


async def join(socket: WebSocket, session: ConsoleSession) -> None:
    """Carry bytes both ways between a console and a WebSocket until either ends."""

    async def out() -> None:
        while data := await session.read():
            await socket.send_bytes(data)

    async def into() -> None:
        while True:
            await session.write(await socket.receive_bytes())

    tasks = [asyncio.create_task(out()), asyncio.create_task(into())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await session.close()
    if not any(isinstance(result, WebSocketDisconnect) for result in results):
        await socket.close()


def _place(request: Request) -> Place:
    return Place(request.query_params["template"], request.query_params["path"])


def _json(value: Any) -> Response:
    return Response(json.dumps(value, separators=(",", ":")), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, CoveyError):
        return JSONResponse(error.to_json(), status_code=error.status)
    return JSONResponse({"kind": "BadInput", "what": str(error), "object": "", "hint": ""}, status_code=400)


async def _nobody(request: Request, error: Exception) -> Response:
    """Whoever sent something has gone away before it was whole."""
    return Response(status_code=499)
