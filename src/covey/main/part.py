"""One controller's part in a cluster, wherever the records are: it follows them, leads whenever it may, and keeps the doors open."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from covey.agent.membership import read_membership
from covey.agent.place import Shared
from covey.api.app import make_app
from covey.api.listen import Address, ControllersDoor, Doorways, listening
from covey.api.news import Listening
from covey.base.clock import Clock
from covey.base.config import parse_address
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
from covey.main.moving import Move
from covey.main.reachable import be_reachable, keep_certified
from covey.main.sharing import Health, Sharing, is_ours, until_shared
from covey.main.vault import vault_of
from covey.main.ways import NetworkWays, identity_here, is_the_clusters
from covey.service.inside import Inside
from covey.service.joining import Authority
from covey.service.metrics import count_crashes
from covey.service.standing import Lead, Standing
from covey.service.tally import Tally
from covey.store.feed import Feed
from covey.store.history import History
from covey.store.protocol import Store
from covey.store.room import RoomKeeper

if TYPE_CHECKING:
    from covey.store.etcd import EtcdStore

AGENT_PATIENCE_S = 10.0
OTHERS_PATIENCE_S = 1.0
LED_PATIENCE_S = 10.0
AGAIN_AFTER_S = 30.0  # a move that could not be done
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)
logger = structlog.get_logger()


class InEtcd(NamedTuple):
    """The records are in etcd: how it is reached, and itself."""

    shared: Shared
    store: EtcdStore


class Over:
    """Whether this part is over, and why: `etcd` is there when the records are to move to it, `comes_home` when they are to leave it.
    `is_patient`: a move has just failed."""

    def __init__(self, is_patient: bool = False) -> None:
        self.etcd: tuple[Move, Store] | None = None
        self.comes_home = False
        self.is_patient = is_patient
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


def _never() -> bool:
    return False


async def take_part(
    store: Store,
    clock: Clock,
    choices: Choices,
    etcd: InEtcd | None,
    over: Over,
    doorways: Doorways,
    reserve_used: Callable[[], bool] = _never,
) -> None:
    """Follow, lead whenever that may be, and keep the doors open, until it is over. Then requests under way are answered first; what leads
    ends after that, and nothing of this process writes any more."""
    layout, node = choices.layout, node_id(choices.layout)
    shared = etcd.shared if etcd else None
    feed, history = Feed(store), History(store)
    await feed.start()
    await history.start()
    events = EventLog(layout.events, feed, history, clock)
    candidacy: Candidacy = Election(store, clock, node, shared.controllers) if shared else Alone(store, clock, node)
    standing = Standing(
        feed, clock, node=node, ways=lambda holder, address: way_to(holder, address, identity_here(layout, clock))
    )
    address, authority = await _network(choices, clock)
    health = Health(etcd.store if etcd else None, feed, clock)
    room = RoomKeeper(etcd.store, clock, lambda: standing.lead is not None) if etcd else None
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
        backup_every_s=choices.backup.every,
        room=room,
        copies=health.copies,
    )
    vault = vault_of(choices)
    leads = asyncio.Event()
    ways = NetworkWays(layout, clock)
    reaching: list[asyncio.Task[None]] = []  # what else goes on while it leads

    def term(right: Held) -> Term:
        ledger = Ledger(store, clock, right.leadership, right.revision)
        kept = Retention(choices.jobs.keep, choices.jobs.keep_for)
        return Term(store, feed, ledger, clock, ways, secrets.token_hex, kept, events.tell, vault)

    def begin(term: Term) -> None:
        standing.lead = Lead(term.engine, term.fleet, term.backups)
        leads.set()
        tell_systemd("STATUS=leads the cluster")
        restoration = feed.view.restoration
        if restoration and restoration.is_open:
            events.tell(f"cluster.{restoration.how}", "cluster", restoration.sentence)
        if authority:
            work = be_reachable(feed, term.engine, layout, authority, clock)
            reaching.append(asyncio.create_task(work, name="reachable"))
            renewing = keep_certified(term.fleet, authority, ways, clock)
            reaching.append(asyncio.create_task(renewing, name="certificates"))
        if etcd is None:
            reaching.append(asyncio.create_task(begin_to_share(), name="sharing"))
        elif is_ours(layout):
            reaching.append(asyncio.create_task(share(etcd.store, term), name="sharing"))

    async def begin_to_share() -> None:
        if over.is_patient:
            await clock.sleep(AGAIN_AFTER_S)
        over.etcd = await until_shared(feed, layout, clock)
        over.set()

    async def share(store: EtcdStore, term: Term) -> None:
        if over.is_patient:
            await clock.sleep(AGAIN_AFTER_S)
        await Sharing(feed, store, term.fleet, term.ledger.epoch, layout, ways, clock).run()
        over.comes_home = True
        over.set()

    def end() -> None:
        standing.lead = None
        while reaching:
            reaching.pop().cancel()
        tell_systemd("STATUS=follows")

    controller = Controller(feed, candidacy, term, begin, end, Listening(inside).run)
    try:
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(feed.followed(), name="feed"),
                group.create_task(health.run(), name="health"),
                group.create_task(controller.run(), name="controller"),
                *([group.create_task(room.run(), name="room")] if room else []),
            ]
            if shared is None:
                await leads.wait()
            await events.start()
            door = ControllersDoor(shared.controllers, identity_here(layout, clock)) if shared else None
            serving = group.create_task(_serve(inside, layout, address, door, doorways), name="doors")
            await over.wait()
            serving.cancel()
            await asyncio.wait({serving})
            for task in working:
                task.cancel()
    finally:
        end()
        await standing.close()
        await events.close()
        await history.close()
        await feed.close()


async def _until_somebody_leads(inside: Inside) -> None:
    """Whoever finds the doors open finds somebody who leads; for ever nobody is kept waiting, for much can be read without."""
    deadline = inside.clock.monotonic() + LED_PATIENCE_S
    while not inside.standing.lead and inside.clock.monotonic() < deadline:
        named = inside.view.leadership
        if named and named.right and named.holder != inside.standing.node:
            return
        await inside.clock.sleep(0.02)


async def _until_agents_answer(feed: Feed, clock: Clock) -> None:
    """Agent and controller begin at once: whoever finds the doors open finds a machine to work on, too; and other nodes that are there
    answer within a moment. Who cannot begin does not keep the doors shut for ever: `covey status` is to say so."""
    begun = clock.monotonic()
    while not feed.view.telemetry and clock.monotonic() < begun + AGENT_PATIENCE_S:
        await clock.sleep(0.02)
    while set(feed.view.collections["node"]) - set(feed.view.telemetry) and clock.monotonic() < begun + OTHERS_PATIENCE_S:
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
    known = _known_doors(choices.layout)
    has_key = is_the_clusters(choices.layout)
    if not choices.listen:
        return None, Authority(choices.layout.tls, known, clock) if known and has_key else None
    host, port = parse_address(choices.listen)
    files = ensure_server_certificate(choices.layout.tls, await _own_names(host))
    doors = tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in await _own_addresses(host))
    doors = tuple(dict.fromkeys((*doors, *known)))
    authority = Authority(choices.layout.tls, doors, clock) if has_key else None
    return Address(host, port, files), authority


def _known_doors(layout: Layout) -> tuple[str, ...]:
    """The API's doors of other machines, as this one was told when it joined."""
    membership = read_membership(layout.identity)
    return membership.doors if membership else ()


async def _serve(
    inside: Inside, layout: Layout, address: Address | None, door: ControllersDoor | None, doorways: Doorways
) -> None:
    """Keep the doors open."""
    inside.feed.listen(count_crashes)
    await _until_somebody_leads(inside)
    if inside.standing.lead:
        await _until_agents_answer(inside.feed, inside.clock)
    async with listening(make_app(inside), layout.api_socket, inside.closing, address, door, doorways) as port:
        logger.info("the doors are open", socket=str(layout.api_socket), tls_port=port)
        tell_systemd("READY=1", "STATUS=leads the cluster" if inside.standing.lead else "STATUS=follows")
        await inside.history.followed()
