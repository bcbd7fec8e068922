"""The controller's program."""

from __future__ import annotations

import json
import secrets
import socket

import structlog

from covey.api.app import make_app
from covey.api.listen import Address, listening
from covey.base.clock import Clock, SystemClock
from covey.base.config import parse_address
from covey.base.notify import tell_systemd
from covey.base.run import run
from covey.base.tls import ensure_server_certificate
from covey.controller.controller import Controller
from covey.controller.events import EventLog
from covey.controller.janitor import Retention
from covey.main.layout import Choices, node_id
from covey.main.lost import check_not_lost
from covey.service.inside import Inside
from covey.service.metrics import count_crashes
from covey.service.tally import Tally
from covey.store.history import History
from covey.store.schema import ensure_current
from covey.store.sqlite import SqliteStore

AGENT_PATIENCE_S = 10.0
logger = structlog.get_logger()


async def run_controller(choices: Choices) -> None:

    layout = choices.layout
    clock = SystemClock()
    store = await SqliteStore.open(layout.store, clock)
    try:
        await check_not_lost(store, layout)
        await ensure_current(store)
        controller = await Controller.lead(
            store,
            clock,
            [layout.agent_socket],
            node_id(layout),
            secrets.token_hex,
            Retention(choices.jobs.keep, choices.jobs.keep_for),
        )
        await controller.run(lambda: _serve(controller, store, clock, choices))
    finally:
        await store.close()


async def _until_an_agent_answers(controller: Controller, clock: Clock) -> None:
    """Agent and controller begin at once: whoever finds the doors open finds a machine to work on, too. An agent that cannot begin does
    not keep them shut for ever: `covey status` is to say so."""
    deadline = clock.monotonic() + AGENT_PATIENCE_S
    while not controller.feed.view.telemetry and clock.monotonic() < deadline:
        await clock.sleep(0.02)


async def _own_names(host: str) -> tuple[str, ...]:
    """The names and addresses by which clients may come: what is listened on, and for "every address" those of this machine."""
    names = ["localhost", socket.gethostname(), host]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared with, not bound to)
        told = await run(["ip", "-json", "address"], timeout_s=10, object="--listen")
        names += [one["local"] for link in json.loads(told.stdout) for one in link["addr_info"] if one.get("scope") == "global"]
    return tuple(dict.fromkeys(names))


async def _serve(controller: Controller, store: SqliteStore, clock: Clock, choices: Choices) -> None:
    """Keep the doors open."""
    layout, listen = choices.layout, choices.listen
    history = History(store)
    await history.start()
    events = EventLog(layout.events, controller.feed, history, clock)
    await events.start()
    inside = Inside(
        controller.feed,
        history,
        controller.engine,
        store,
        clock,
        controller.fleet,
        events,
        secrets.token_hex,
        Tally(controller.feed, secrets.token_hex(4)),
        lambda: store.reserve_used,
        choices.metrics.instances,
    )
    controller.feed.listen(count_crashes)
    await _until_an_agent_answers(controller, clock)
    address = None
    if listen:
        host, port = parse_address(listen)
        address = Address(host, port, ensure_server_certificate(layout.tls, await _own_names(host)))
    try:
        async with listening(make_app(inside), layout.api_socket, inside.closing, address) as port:
            logger.info("the doors are open", socket=str(layout.api_socket), tls_port=port)
            tell_systemd("READY=1", "STATUS=leads the cluster")
            await history.followed()
    finally:
        await events.close()
        await history.close()
