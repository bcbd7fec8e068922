"""What a leader does so that the nodes share the store: it begins when there is a second one, gives each its part, and sees to it that the
members of etcd follow the nodes. It ends when one node is left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from covey.agent.client import take_share_back
from covey.agent.place import Place
from covey.base.clock import Clock
from covey.base.errors import CoveyError
from covey.controller.fleet import Fleet
from covey.controller.seats import Candidate, Change, candidates, has_company, is_alone, next_change, url_of
from covey.main.layout import Layout, node_id
from covey.main.moving import Move, await_etcd, discard_move, prepare_etcd
from covey.main.ways import NetworkWays
from covey.model.node import Node
from covey.model.order import Epoch
from covey.model.sharing import CLIENTS, MEMBERS, Peer, Seat, Share, beside
from covey.model.view import ClusterView
from covey.service.inside import Copy
from covey.store.feed import Feed
from covey.store.protocol import Store

if TYPE_CHECKING:
    from covey.store.etcd import EtcdStore  # a single machine needs neither it nor the memory that gRPC takes

LOOK_EVERY_S = 1.0
AGAIN_AFTER_S = 30.0  # an etcd that did not begin
HEALTH_EVERY_S = 3.0
SILENT_FOR_S = 5.0
log = structlog.get_logger()


async def until_shared(feed: Feed, layout: Layout, clock: Clock) -> tuple[Move, Store]:
    """Returns when another node is ready to share the store, and etcd answers here, empty. Nothing is held up until then."""
    own = node_id(layout)
    while True:
        node = feed.view.find("node", own)
        may_move = not feed.view.is_reconciling  # first it must be known what runs
        if may_move and isinstance(node, Node) and node.address and has_company(feed.view, own):
            try:
                move = await prepare_etcd(layout, node.address, clock)
                return move, await await_etcd(layout, move, clock)
            except (CoveyError, OSError) as error:
                log.warning("etcd does not begin here; the records stay where they are", error=str(error))
                discard_move(layout)
                await clock.sleep(AGAIN_AFTER_S)
        await clock.sleep(LOOK_EVERY_S)


def is_ours(layout: Layout) -> bool:
    """Whether etcd is one that Covey has started: members of another are not ours to add and remove."""
    return (Place(layout.store.parent).directory / "ca.key").exists()


class Sharing:
    """While this controller leads, and the records are in etcd."""

    def __init__(
        self,
        feed: Feed,
        store: EtcdStore,
        fleet: Fleet,
        epoch: Epoch,
        layout: Layout,
        ways: NetworkWays,
        clock: Clock,
    ) -> None:
        self._feed = feed
        self._store = store
        self._fleet = fleet
        self._epoch = epoch
        self._layout = layout
        self._ways = ways
        self._clock = clock
        self._own = node_id(layout)
        self._given: dict[str, Share] = {}  # what each node has got from us
        self._addresses: dict[str, str] = {}  # of all nodes that there were
        self._taken_back: set[str] = set()
        self._own_url = ""

    async def run(self) -> None:
        """Until the records are to be this machine's own again."""
        said = ""
        while True:
            try:
                if await self._is_alone():
                    return
                said = ""
            except CoveyError as error:
                if said != error.what:  # etcd refuses each change for 5 s after the last
                    log.info("the members of etcd are not as they are to be; trying again", error=str(error))
                said = error.what
            await self._clock.sleep(LOOK_EVERY_S)

    async def _is_alone(self) -> bool:
        """Bring the members a bit nearer to what they are to be; whether there is nobody to share with."""
        view = self._feed.view
        nodes = candidates(view)
        self._addresses.update({node.id: node.address for node in view.all("node", Node) if node.address})
        self._own_url = url_of(self._addresses[self._own]) if self._own in self._addresses else ""
        members = self._store.members
        peers = await members.all()
        if is_alone(nodes, peers, self._own_url):
            await self._take_back(view)
            return True
        silent = {url_of_client(address) for address in await members.silent()}
        await self._share(view, nodes, peers)
        change = next_change(nodes, peers, silent)
        if change:
            with contextlib.suppress(CoveyError) if change.do == "promote" else contextlib.nullcontext():
                await self._carry_out(change)
            peers = await members.all()
            await self._share(self._feed.view, nodes, peers)
        await self._take_back(view)
        return False

    async def _carry_out(self, change: Change) -> None:
        members = self._store.members
        if change.do == "add":
            await members.add(change.url)
        elif change.peer and change.do == "promote":
            await members.promote(change.peer)
        elif change.peer:
            await members.remove(change.peer)
        log.info("etcd's members change", do=change.do, member=change.url)

    async def _share(self, view: ClusterView, nodes: tuple[Candidate, ...], peers: tuple[Peer, ...]) -> None:
        """Each node that carries a controller knows where etcd is, and whether it has a seat there."""
        for one in nodes:
            if not one.carries:
                continue
            share = self._share_of(one, peers)
            if self._given.get(one.node) == share:
                continue
            try:
                await self._fleet.share_store(one.node, share)
                self._given[one.node] = share
                self._taken_back.discard(one.node)
            except CoveyError as error:
                log.info("a node has not got its part of the store; trying again", node=one.node, error=str(error))

    def _share_of(self, one: Candidate, peers: tuple[Peer, ...]) -> Share:
        tls, etcd = self._layout.tls, Place(self._layout.store.parent).directory
        seats = ",".join(f"{peer.seat}={peer.url}" for peer in peers)
        own = next((peer for peer in peers if peer.url == one.url), None)
        return Share(
            authority=(tls / "ca.pem").read_text(),
            authority_key=(tls / "ca.key").read_text(),
            store_authority=(etcd / "ca.pem").read_text(),
            store_authority_key=(etcd / "ca.key").read_text(),
            endpoints=tuple(client_of(peer.url) for peer in peers if peer.votes),
            seat=Seat(own.seat, seats) if own else None,
        )

    async def _take_back(self, view: ClusterView) -> None:
        """Whoever is no node any more, or is to have none of the store, and no member: its part goes, and the keys with it, if it can be
        reached."""
        urls = {peer.url for peer in await self._store.members.all()}
        for node, address in self._addresses.items():
            told = view.telemetry.get(node)
            may_have = node in view.collections["node"] and (told is None or told.carries_store)
            if may_have or url_of(address) in urls or node in self._taken_back:
                continue
            self._taken_back.add(node)
            self._given.pop(node, None)
            try:
                await take_share_back(self._ways.to(node, address), self._epoch)
            except CoveyError as error:
                log.warning("a node that was removed keeps its part of the store and the keys", node=node, error=str(error))


class Health:
    """Which members of etcd do not answer, as this controller sees it; `status` tells of them."""

    def __init__(self, store: EtcdStore | None, feed: Feed, clock: Clock) -> None:
        """`store` None: the records are this machine's own."""
        self._store = store
        self._feed = feed
        self._clock = clock
        self._silent: dict[str, float] = {}  # where a member is, and since when it says nothing

    async def run(self) -> None:
        while self._store is None:
            await self._clock.sleep(3600.0)
        while True:
            await self._clock.sleep(HEALTH_EVERY_S)
            silent = await self._store.members.silent()
            self._silent = {address: self._silent.get(address, self._clock.now()) for address in silent}

    def copies(self) -> tuple[Copy, ...]:
        """By name. One that was silent once only may have been busy."""
        if self._store is None:
            return ()
        before = self._clock.now() - SILENT_FOR_S
        names = {beside(node.address, CLIENTS): node.name for node in self._feed.view.all("node", Node) if node.address}
        since = {address: at for address, at in self._silent.items() if at <= before}
        return tuple(sorted(Copy(names.get(each, each), since.get(each, 0.0)) for each in self._store.addresses))


def client_of(url: str) -> str:
    """Where the member takes clients whose peers find it at `url`."""
    return beside(url.removeprefix("https://"), CLIENTS - MEMBERS)


def url_of_client(address: str) -> str:
    return f"https://{beside(address, MEMBERS - CLIENTS)}"
