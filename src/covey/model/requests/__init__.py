"""Every request, one module a noun."""

from covey.model.requests import (
    clone,
    cluster,
    disk,
    drain,
    firewall,
    forward,
    image,
    instance,
    move,
    network,
    nic,
    node,
    pool,
    repair,
    snapshot,
    token,
)

__all__ = [
    "clone",
    "cluster",
    "disk",
    "drain",
    "firewall",
    "forward",
    "image",
    "instance",
    "move",
    "network",
    "nic",
    "node",
    "pool",
    "repair",
    "snapshot",
    "token",
]
