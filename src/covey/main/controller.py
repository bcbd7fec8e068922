"""The controller's program."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable

import structlog

from covey.agent.membership import read_membership
from covey.api.app import make_app
from covey.api.listen import Address, ControllersDoor, listening
from covey.api.news import Listening
from covey.base.clock import Clock, SystemClock
from covey.base.config import parse_address
from covey.base.errors import Unavailable
from covey.base.notify import tell_systemd
from covey.base.run import run
from covey.base.tls import ensure_server_certificate
from covey.controller.controller import Candidacy, Controller, Term
from covey.controller.events import EventLog
from covey.controller.janitor import Retention
from covey.controller.lead import Alone, Election, Held
from covey.controller.way import way_to
from covey.engine.ledger import Ledger
from covey.main.layout import Choices, Layout, node_id
from covey.main.lost import check_not_lost
from covey.main.reachable import be_reachable, keep_certified
from covey.main.shared import Shared, read_shared
from covey.main.ways import NetworkWays, identity_here, is_the_clusters
from covey.model.membership import Membership
from covey.service.inside import Inside
from covey.service.joining import Authority
from covey.service.metrics import count_crashes
from covey.service.standing import Lead, Standing
from covey.service.tally import Tally
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.protocol import Store, Unmet
from covey.store.schema import ensure_current
from covey.store.sqlite import SqliteStore

AGENT_PATIENCE_S = 10.0
ASK_AGAIN_S = 0.5  # etcd, which may be starting just as we are
MEMBER_LOOK_S = 1.0
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)
logger = structlog.get_logger()


async def run_controller(choices: Choices) -> None:
    """Take part in the cluster whose store this machine shares; else lead its own, until the machine joins another's."""
    shared = read_shared(choices.layout.shared_store)
    if shared:
        await _work(choices, shared)
        return
    member = asyncio.create_task(until_member(choices.layout))
    leading = asyncio.create_task(_work(choices, None))
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


async def _work(choices: Choices, shared: Shared | None) -> None:
    layout, clock = choices.layout, SystemClock()
    if shared:
        store: Store = await _open_shared(shared, layout, clock)
        reserve_used = _never
    else:
        own = await SqliteStore.open(layout.store, clock)
        store, reserve_used = own, lambda: own.reserve_used
    try:
        if not shared:
            await check_not_lost(store, layout)
            await ensure_current(store)
        await _take_part(store, clock, choices, shared, reserve_used)
    finally:
        await store.close()


def _never() -> bool:
    return False


async def _open_shared(shared: Shared, layout: Layout, clock: Clock) -> Store:
    """The store of all, as soon as it answers."""
    from covey.store.etcd import EtcdStore  # a single machine needs neither it nor the memory that gRPC takes

    while True:
        try:
            store = await EtcdStore.open(shared.endpoints, shared.files, clock)
            try:
                await check_not_lost(store, layout)
                await ensure_current(store)
            except BaseException:
                await store.close()
                raise
            return store
        except Unmet:
            continue  # another controller does the same
        except Unavailable as error:
            logger.warning("etcd does not answer; asking again", error=str(error))
            await clock.sleep(ASK_AGAIN_S)


async def _take_part(
    store: Store, clock: Clock, choices: Choices, shared: Shared | None, reserve_used: Callable[[], bool]
) -> None:
    """Follow, lead whenever that may be, and keep the doors open, until cancelled."""
    layout, node = choices.layout, node_id(choices.layout)
    feed, history = Feed(store), History(store)
    await feed.start()
    await history.start()
    events = EventLog(layout.events, feed, history, clock)
    candidacy: Candidacy = Election(store, clock, node, shared.controllers) if shared else Alone(store, clock, node)
    standing = Standing(
        feed, clock, node=node, ways=lambda holder, address: way_to(holder, address, identity_here(layout, clock))
    )
    address, authority = await _network(choices, clock)
    inside = Inside(
        feed,
        history,
        standing,
        store,
        clock,
        events,
        secrets.token_hex,
        Tally(feed, secrets.token_hex(4)),
        reserve_used,
        choices.metrics.instances,
        authority,
        choices.config,
    )
    leads = asyncio.Event()
    ways = NetworkWays(layout, clock)
    reaching: list[asyncio.Task[None]] = []  # what else goes on while it leads

    def term(right: Held) -> Term:
        ledger = Ledger(store, clock, right.leadership, right.revision)
        kept = Retention(choices.jobs.keep, choices.jobs.keep_for)
        return Term(store, feed, ledger, clock, ways, secrets.token_hex, kept)

    def begin(term: Term) -> None:
        standing.lead = Lead(term.engine, term.fleet)
        leads.set()
        tell_systemd("STATUS=leads the cluster")
        if authority:
            work = be_reachable(feed, term.engine, layout, authority, clock)
            reaching.append(asyncio.create_task(work, name="reachable"))
            renewing = keep_certified(term.fleet, authority, ways, clock)
            reaching.append(asyncio.create_task(renewing, name="certificates"))

    def end() -> None:
        standing.lead = None
        while reaching:
            reaching.pop().cancel()
        tell_systemd("STATUS=follows")

    controller = Controller(feed, candidacy, term, begin, end, Listening(inside).run)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed.followed(), name="feed")
            group.create_task(controller.run(), name="controller")
            if shared is None:
                await leads.wait()
            await events.start()
            door = ControllersDoor(shared.controllers, identity_here(layout, clock)) if shared else None
            group.create_task(_serve(inside, layout, address, door), name="doors")
    finally:
        await standing.close()
        await events.close()
        await history.close()
        await feed.close()


async def _until_an_agent_answers(feed: Feed, clock: Clock) -> None:
    """Agent and controller begin at once: whoever finds the doors open finds a machine to work on, too. An agent that cannot begin does
    not keep them shut for ever: `covey status` is to say so."""
    deadline = clock.monotonic() + AGENT_PATIENCE_S
    while not feed.view.telemetry and clock.monotonic() < deadline:
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
    authority = Authority(choices.layout.tls, doors, clock) if is_the_clusters(choices.layout) else None
    return Address(host, port, files), authority


async def _serve(inside: Inside, layout: Layout, address: Address | None, door: ControllersDoor | None) -> None:
    """Keep the doors open."""
    inside.feed.listen(count_crashes)
    if door is None:
        await _until_an_agent_answers(inside.feed, inside.clock)
    async with listening(make_app(inside), layout.api_socket, inside.closing, address, door) as port:
        logger.info("the doors are open", socket=str(layout.api_socket), tls_port=port)
        tell_systemd("READY=1", "STATUS=leads the cluster" if inside.standing.lead else "STATUS=follows")
        await inside.history.followed()
