"""Every planner, one module a noun: importing this registers them all."""

from covey.planner import (
    clearing,
    cluster,
    disk,
    draining,
    firewall,
    forward,
    image,
    nic,
    node,
    pool,
    removed,
    repair,
    snapshot,
    token,
)
from covey.planner.instance import (
    add,
    clone,
    life,
    migrate,
    modify,
    move,
    reinstall,
    remove,
    rename,
)
from covey.planner.network import add as network_add
from covey.planner.network import modify as network_modify

__all__ = [
    "add",
    "clearing",
    "clone",
    "cluster",
    "disk",
    "draining",
    "firewall",
    "forward",
    "image",
    "life",
    "migrate",
    "modify",
    "move",
    "network_add",
    "network_modify",
    "nic",
    "node",
    "pool",
    "reinstall",
    "remove",
    "removed",
    "rename",
    "repair",
    "snapshot",
    "token",
]
