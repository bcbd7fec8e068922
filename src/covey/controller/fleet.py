"""The nodes as the leader reaches them: one link an agent, behind the engine's protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import structlog

from covey.agent.client import Link, LinkEnded, Terminal
from covey.agent.way import Way
from covey.base.clock import Clock
from covey.base.errors import CoveyError, Unavailable, require
from covey.base.text import plain
from covey.controller.hearing import Hearing
from covey.model.network import Network
from covey.model.node import Node, Telemetry
from covey.model.order import Charge, Epoch, Hello, Inventory, Message, Observation, Observed, Outcome, Progress, Room, Telling
from covey.model.pool import Place, Pool, Volume
from covey.model.sharing import Share
from covey.model.step import Step
from covey.model.transfer import Content, Found
from covey.model.view import ClusterView
from covey.placement.links import missing_link
from covey.planner.network.laying import all_laid
from covey.store.feed import Changes, Feed

UNKNOWN_NODE_PATIENCE_S = 1.0
CONSOLE_TAIL = 2000  # bytes of a guest's last words, for an error message
CHARGED = ("state/pool/", "state/network/", "state/node/", "state/cluster/")  # what agents are told of
Ways = Callable[[ClusterView], tuple[Way, ...]]  # to the agents of the nodes that a view holds
log = structlog.get_logger()


class Fleet:
    """All links. Implements engine.nodes.Nodes."""

    def __init__(self, ways: Ways, epoch: Epoch, feed: Feed, hearing: Hearing, clock: Clock) -> None:
        self._feed = feed
        self._ways = ways
        self._epoch = epoch
        self._hearing = hearing
        self._clock = clock
        self._links: dict[Way, tuple[Link, asyncio.Task[None]]] = {}
        self._by_node: dict[str, Link] = {}
        self._met = asyncio.Event()
        self._nodes_changed = asyncio.Event()
        self._charging: set[asyncio.Task[None]] = set()
        self.progress: dict[int, Progress] = {}  # by job: what its present step last said
        self.broken_networks: asyncio.Queue[list[str]] = asyncio.Queue()

    async def run(self) -> None:
        self._feed.listen(self._on_change)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._nodes_changed.clear()
                    self._be_linked(group)
                    await self._nodes_changed.wait()
        finally:
            self._feed.ignore(self._on_change)

    def _be_linked(self, group: asyncio.TaskGroup) -> None:
        """A link for each way that there is now, and for no other."""
        wanted = self._ways(self._feed.view)
        for way in [way for way in self._links if way not in wanted]:
            link, task = self._links.pop(way)
            task.cancel()
            self._lose(link, "its node was removed, or is reached otherwise")
        for way in wanted:
            if way not in self._links:
                link = Link(way, self._epoch, self._cluster, self._clock, self._hear, self._meet, self._lose)
                self._links[way] = link, group.create_task(link.run())

    def _cluster(self) -> str:
        """The cluster's id, "" before there is one."""
        view = self._feed.view
        return view.cluster.uuid if view.is_initialised else ""

    # --- hearing -------------------------------------------------------------------------------------------------------------------
    async def _meet(self, link: Link, hello: Hello) -> None:
        if hello.acts:  # before anybody learns that the node answers, and starts what a person has stopped
            await self._hearing.hear_acts(hello.node, hello.acts)
            await link.forget_acts([act.id for act in hello.acts])
        self._by_node[hello.node] = link
        self._feed.tell(hello.node, hello.telemetry)
        self._met.set()
        log.info("agent answers", node=hello.node, host=hello.telemetry.hostname, at_work_on=list(hello.in_flight))
        await link.look_after(charge_of(self._feed.view, link.node))
        node = self._feed.view.find("node", hello.node)
        if node and node.state == "ready":  # others get all networks anyway
            await self._look_for_broken_networks(link)

    async def _look_for_broken_networks(self, link: Link) -> None:
        """Bridges do not survive a restart of the machine."""
        missing = unlinked(self._feed.view, link.node)
        networks = tuple(one for one in charge_of(self._feed.view, link.node).networks if one.name not in missing)
        if networks:
            inventory = await link.inventory(Charge({}, networks))
            intact = {found.id for found in inventory.networks if found.intact}
            broken = [network.name for network in networks if network.id not in intact]
            if broken:
                self.broken_networks.put_nowait(broken)

    def _lose(self, link: Link, why: str) -> None:
        if self._by_node.get(link.node) is link:
            del self._by_node[link.node]
            self._feed.tell(link.node, None)

    def _hear(self, node: str, message: Message) -> None:
        if isinstance(message, Telling):
            self._hear_telemetry(node, message.telemetry)
        elif isinstance(message, Room):
            self._feed.tell_room(node, message)
        elif isinstance(message, Observation):
            self._hearing.hear(node, message)
        elif isinstance(message, Observed):
            self._hearing.hear_all(node, message.observations)
        elif isinstance(message, Progress | Outcome):
            job = int(message.task.partition(".")[0])
            under_way = self._feed.view.find("job", f"{job:010d}")
            if isinstance(message, Progress) and under_way:  # else it is late, and nothing would ever take it away
                self.progress[job] = message
            elif (
                isinstance(message, Outcome) and not under_way
            ):  # told to a former leader, or after its time: the agent may forget it
                self.acknowledge(node, message.task)

    def _hear_telemetry(self, node: str, telemetry: Telemetry) -> None:
        """Networks that lacked what they are to be linked to, and have it by now, are seen to: guests may have to join a bridge again."""
        before = unlinked(self._feed.view, node)
        self._feed.tell(node, telemetry)
        again = before - unlinked(self._feed.view, node)
        if again:
            self.broken_networks.put_nowait(sorted(again))

    def _on_change(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        for key, record in changes:
            if key.startswith("state/job/") and record is None:
                self.progress.pop(int(key.rpartition("/")[2]), None)
        if any(key.startswith("state/node/") for key, _ in changes):
            self._nodes_changed.set()
        if any(key.startswith(CHARGED) for key, _ in changes):
            for link in self._by_node.values():
                task = asyncio.create_task(_charge_quietly(link, charge_of(after, link.node)))
                self._charging.add(task)
                task.add_done_callback(self._charging.discard)

    # --- asking --------------------------------------------------------------------------------------------------------------------
    async def carry_out(
        self, node: str, id: str, epoch: Epoch, step: Step, secrets: dict[str, str], undo: bool = False
    ) -> Outcome:
        while True:
            while node not in self._by_node:
                await self._clock.sleep(UNKNOWN_NODE_PATIENCE_S if self._met.is_set() else 0.05)
            try:
                return await self._by_node[node].carry_out(id, epoch, step, secrets, undo)
            except LinkEnded:
                continue  # it is reached otherwise now

    def acknowledge(self, node: str, task: str) -> None:
        link = self._by_node.get(node)
        if link:
            link.acknowledge(task)

    async def console_tail(self, node: str, instance: str) -> str:
        try:
            return plain((await self.console_log(node, instance, CONSOLE_TAIL)).decode(errors="replace"))
        except CoveyError:
            return ""  # the job's end must not depend on it

    async def console_log(self, node: str, instance: str, size: int) -> bytes:
        """The last `size` bytes at most that a guest printed. Raises Unavailable."""
        return await self._link(node).console_log(instance, size)

    async def ask_guest(
        self, node: str, instance: str, verb: str, wish: Mapping[str, Any], timeout_s: float
    ) -> Mapping[str, Any]:
        """What a guest's own agent answers. Raises Unavailable, Refused, StepFailed."""
        return await self._link(node).ask_guest(instance, verb, wish, timeout_s)

    async def screenshot(self, node: str, instance: str) -> bytes:
        """What is on a guest's screen, as PNG. Raises Unavailable, Refused."""
        return await self._link(node).screenshot(instance)

    async def receive(
        self, node: str, place: Place, upload: str, format: str, sha256: str, pieces: AsyncIterator[bytes]
    ) -> Found:
        """Have an image taken in. Raises Unavailable, BadInput, NoSpace, and what `pieces` raise."""
        return await self._link(node).receive(place, upload, format, sha256, pieces)

    async def discard(self, node: str, place: Place, upload: str) -> None:
        """Nothing is left of an image that was taken in. Raises Unavailable."""
        await self._link(node).discard(place, upload)

    @contextlib.asynccontextmanager
    async def export(self, node: str, volume: Volume, format: str) -> AsyncIterator[Content]:
        """What a volume shows. Raises Unavailable, Refused."""
        async with self._link(node).export(volume, format) as content:
            yield content

    async def renew_certificates(self, issue: Callable[[str, str], str], authority: str) -> None:
        """New certificates for the nodes whose own will soon end; `issue` makes one from a signing request and a node's id."""
        for node, link in list(self._by_node.items()):
            try:
                wanted = await link.due_certificate()
                if wanted:
                    await link.put_certificate(issue(wanted, node), authority)
                    log.info("certificate renewed", node=node)
            except CoveyError as error:
                log.warning("cannot renew the certificate; trying again", node=node, error=str(error))

    async def share_store(self, node: str, share: Share) -> None:
        """Give a node its part of the store. Raises Unavailable, Refused."""
        await self._link(node).share_store(share)

    async def inventory(self, node: str) -> Inventory:
        """Everything of Covey's on a node. Raises Unavailable."""
        return await self._link(node).inventory(charge_of(self._feed.view, node))

    @contextlib.asynccontextmanager
    async def console(self, node: str, instance: str) -> AsyncIterator[Terminal]:
        """A session on a guest's console. Raises Unavailable."""
        async with self._link(node).console(instance) as terminal:
            yield terminal

    def _link(self, node: str) -> Link:
        record = self._feed.view.find("node", node)
        return require(
            self._by_node.get(node),
            Unavailable("its agent does not answer", f"node {record.name if record else node}", "see: covey status"),
        )


async def _charge_quietly(link: Link, charge: Charge) -> None:
    try:
        await link.look_after(charge)
    except CoveyError as error:
        log.info("the agent will learn of its pools with its next link", error=str(error))


def unlinked(view: ClusterView, node: str) -> frozenset[str]:
    """The names of the networks that the node with this id is to have, and has nothing to link to."""
    record = view.find("node", node)
    return frozenset(network.name for network in view.all("network", Network) if record and missing_link(view, network, record))


def charge_of(view: ClusterView, node: str) -> Charge:
    """What the node with this id looks after."""
    pools = {pool.id: pool.place for pool in view.all("pool", Pool) if pool.capability.holds_volumes}
    cluster = view.cluster.name if view.is_initialised else ""
    nodes = tuple(sorted(view.collections["node"]))
    own: Node | None = view.find("node", node)
    told = (own.name, own.address, own.storage_address) if own else ()
    return Charge(pools, all_laid(view, node), nodes, cluster, *told)
