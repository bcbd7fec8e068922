"""Pools."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import PoolDocument
from covey.model.requests.pool import AddPool, RemovePool
from covey.service.listing import POOL

OPERATIONS = (
    listed(POOL, "/v1/pools", "list_pools", "All pools, with their room", PoolDocument, "pool.read"),
    change("POST", "/v1/pools", "add_pool", "Make a pool on every node", AddPool, example={"name": "hdd", "path": "/srv/hdd"}),
    shown(POOL, "/v1/pools/{name}", "show_pool", "One pool", PoolDocument, "pool.read"),
    change("DELETE", "/v1/pools/{name}", "remove_pool", "Give a pool up", RemovePool, {"name": "pool"}, target="pool"),
)
