"""What the nodes have, for `cluster reconcile`: what runs, and what no record names (S14)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace

from covey.model.order import Inventory
from covey.model.requests.cluster import FoundRun, ReconcileCluster
from covey.model.view import ClusterView
from covey.service.health import inventory_of
from covey.service.inside import Inside

MOST = 500  # of what is told and not merely raised: more than that is another cluster


async def completed(inside: Inside, request: ReconcileCluster) -> ReconcileCluster:
    """The request with what every node that answers has. Raises Refused before `cluster init`, Unavailable where nobody leads."""
    view = inside.view
    view.check_initialised()
    nodes = sorted(view.collections["node"])
    inventories = dict(zip(nodes, await asyncio.gather(*(inventory_of(inside, node) for node in nodes)), strict=True))
    answered = {node: inventory for node, inventory in inventories.items() if inventory is not None}
    return replace(request, found=tuple(_found(view, answered))[:MOST], answered=tuple(answered))


def _found(view: ClusterView, answered: Mapping[str, Inventory]) -> Iterator[FoundRun]:
    """What runs elsewhere than recorded or on several nodes, and what is in no record. What runs where it should is known already."""
    places: dict[str, int] = {}
    for inventory in answered.values():
        for domain in inventory.domains:
            places[domain.instance] = places.get(domain.instance, 0) + 1
    for node, inventory in answered.items():
        for domain in sorted(inventory.domains, key=lambda domain: domain.instance):
            instance = view.find("instance", domain.instance)
            if instance is None or instance.node != node or places[domain.instance] > 1:
                yield FoundRun(node, domain.instance, domain.title, domain.state, domain.generation)
