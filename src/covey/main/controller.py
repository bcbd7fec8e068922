"""The controller's program."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl

import structlog

from covey.agent.membership import read_membership
from covey.agent.way import LocalWay, NetworkWay, Way
from covey.api.app import make_app
from covey.api.listen import Address, listening
from covey.base.certificates import ensure_identity
from covey.base.clock import Clock, SystemClock
from covey.base.config import parse_address
from covey.base.identity import caller_context
from covey.base.notify import tell_systemd
from covey.base.run import run
from covey.base.tls import ensure_server_certificate
from covey.controller.controller import Controller
from covey.controller.events import EventLog
from covey.controller.fleet import Ways
from covey.controller.janitor import Retention
from covey.main.layout import Choices, Layout, node_id
from covey.main.lost import check_not_lost
from covey.main.reachable import be_reachable
from covey.model.membership import Membership
from covey.model.node import Node
from covey.model.view import ClusterView
from covey.service.inside import Inside
from covey.service.joining import Authority
from covey.service.metrics import count_crashes
from covey.service.tally import Tally
from covey.store.history import History
from covey.store.schema import ensure_current
from covey.store.sqlite import SqliteStore

AGENT_PATIENCE_S = 10.0
MEMBER_LOOK_S = 1.0
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)
logger = structlog.get_logger()


async def run_controller(choices: Choices) -> None:
    """Lead this machine's own cluster, until the machine joins another's."""
    member = asyncio.create_task(until_member(choices.layout))
    leading = asyncio.create_task(_lead(choices))
    try:
        await asyncio.wait((member, leading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (member, leading):
            task.cancel()
        await asyncio.wait((member, leading))
    if leading.cancelled():
        await stand_aside(choices.layout)
    leading.result()


async def until_member(layout: Layout) -> Membership:
    """Returns when this machine belongs to a cluster that it joined."""
    while not (found := read_membership(layout.identity)) or found.is_first:
        await SystemClock().sleep(MEMBER_LOOK_S)
    return found


async def stand_aside(layout: Layout) -> None:
    """While the machine is a node of a cluster that is led elsewhere, there is nothing to lead here."""
    while membership := read_membership(layout.identity):
        logger.info("led from elsewhere", membership=str(membership), doors=list(membership.doors))
        tell_systemd("READY=1", f"STATUS={membership}, led from {', '.join(membership.doors)}")
        await SystemClock().sleep(3600.0)


async def _lead(choices: Choices) -> None:
    layout = choices.layout
    clock = SystemClock()
    store = await SqliteStore.open(layout.store, clock)
    try:
        await check_not_lost(store, layout)
        await ensure_current(store)
        controller = await Controller.lead(
            store,
            clock,
            ways_from(layout, clock),
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
    return tuple(dict.fromkeys(["localhost", socket.gethostname(), host, *await _own_addresses(host)]))


async def _own_addresses(host: str) -> list[str]:
    """Where others find what is listened on there."""
    if host not in WILDCARDS:
        return [host]
    told = await run(["ip", "-json", "address"], timeout_s=10, object="--listen")
    return [one["local"] for link in json.loads(told.stdout) for one in link["addr_info"] if one.get("scope") == "global"]


async def _network(choices: Choices, clock: Clock) -> tuple[Address | None, Authority | None]:
    """Where to listen on the network, and the authority that says who we are there; None for not at all."""
    if not choices.listen:
        return None, None
    host, port = parse_address(choices.listen)
    files = ensure_server_certificate(choices.layout.tls, await _own_names(host))
    doors = tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in await _own_addresses(host))
    return Address(host, port, files), Authority(choices.layout.tls, doors, clock)


def ways_from(layout: Layout, clock: Clock) -> Ways:
    """To this machine's own agent by its socket, to those of other nodes over the network."""
    own = node_id(layout)
    contexts: list[ssl.SSLContext] = []  # one at most, made when it is needed: a cluster of one machine has no certificates

    def ways(view: ClusterView) -> tuple[Way, ...]:
        others = sorted((node.address, node.id) for node in view.all("node", Node) if node.address and node.id != own)
        if others and not contexts:
            contexts.append(caller_context(ensure_identity(layout.identity, layout.tls, own, clock)))
        return LocalWay(layout.agent_socket), *(NetworkWay(address, id, contexts[0]) for address, id in others)

    return ways


async def _serve(controller: Controller, store: SqliteStore, clock: Clock, choices: Choices) -> None:
    """Keep the doors open."""
    layout = choices.layout
    history = History(store)
    await history.start()
    address, authority = await _network(choices, clock)
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
        authority,
    )
    controller.feed.listen(count_crashes)
    await _until_an_agent_answers(controller, clock)
    try:
        async with listening(make_app(inside), layout.api_socket, inside.closing, address) as port, asyncio.TaskGroup() as group:
            logger.info("the doors are open", socket=str(layout.api_socket), tls_port=port)
            tell_systemd("READY=1", "STATUS=leads the cluster")
            group.create_task(history.followed(), name="history")
            if authority:
                group.create_task(be_reachable(controller, layout, authority, clock), name="reachable")
    finally:
        await events.close()
        await history.close()
