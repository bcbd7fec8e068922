"""The leader's own machine becomes a node like the others as soon as there are others: with a certificate, and a door for them."""

from __future__ import annotations

import asyncio

import httpx2
import structlog

from covey.base.certificates import ensure_identity
from covey.base.clock import Clock
from covey.base.config import parse_address
from covey.base.errors import CoveyError
from covey.controller.fleet import Fleet
from covey.controller.healer import USER
from covey.engine.engine import Engine
from covey.main.layout import Layout, node_id
from covey.main.ways import NetworkWays
from covey.model import codec
from covey.model.job import Job
from covey.model.membership import Membership
from covey.model.node import Node
from covey.model.requests.node import ReaddressNode
from covey.model.view import ClusterView
from covey.service.joining import Authority
from covey.store.feed import Changes, Feed

TRY_AGAIN_S = 5.0
RENEW_LOOK_S = 3600.0
log = structlog.get_logger()


async def be_reachable(feed: Feed, engine: Engine, layout: Layout, authority: Authority, clock: Clock) -> None:
    """Wait until there is another node; then see to it that the own agent listens for it, and that all know where."""
    own = node_id(layout)
    changed = asyncio.Event()

    def listener(before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if any(key.startswith("state/node/") for key, _ in changes):
            changed.set()

    feed.listen(listener)
    try:
        while True:
            changed.clear()
            node: Node | None = feed.view.find("node", own)
            if node and node.address:
                return
            if node and len(feed.view.collections["node"]) > 1:
                try:
                    await _listen(layout, authority, feed.view, node, clock)
                    request = ReaddressNode(node=node.name, address=agent_address(authority), seed="0" * 32, now=clock.now())
                    why = "other nodes reach it there"
                    await engine.submit(Job(0, request, USER, "queued", clock.now(), reason=why))
                except (CoveyError, httpx2.HTTPError, OSError) as error:
                    log.warning("other nodes cannot reach this one; trying again", error=str(error))
                    await clock.sleep(TRY_AGAIN_S)
                    continue
            await changed.wait()
    finally:
        feed.ignore(listener)


async def keep_certified(fleet: Fleet, authority: Authority, ways: NetworkWays, clock: Clock) -> None:
    """Nodes' certificates are renewed long before they end, this one's among them."""
    while True:
        await clock.sleep(RENEW_LOOK_S)
        await fleet.renew_certificates(authority.issue, authority.certificate)
        ways.refresh()


def agent_address(authority: Authority) -> str:
    """Where the agent beside this controller listens: on the port after the API's."""
    host, port = parse_address(authority.doors[0])
    return f"[{host}]:{port + 1}" if ":" in host else f"{host}:{port + 1}"


async def _listen(layout: Layout, authority: Authority, view: ClusterView, node: Node, clock: Clock) -> None:
    """Raises HTTPError and OSError when the agent does not answer."""
    files = ensure_identity(layout.identity, layout.tls, node.id, clock)
    nodes = tuple(sorted(view.collections["node"]))
    membership = Membership(
        view.cluster.uuid, view.cluster.name, node.name, agent_address(authority), nodes, authority.doors, True
    )
    wish = {
        "membership": codec.encode(membership),
        "certificate": files.certificate.read_text(),
        "authority": authority.certificate,
        "is_new": False,
    }
    transport = httpx2.AsyncHTTPTransport(uds=str(layout.agent_socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://agent", timeout=20) as client:
        (await client.put("/membership", json=wish)).raise_for_status()
