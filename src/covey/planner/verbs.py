"""Every planner, one module a noun: importing this registers them all."""

from covey.planner import cluster, disk, image, network, node, pool, repair, token
from covey.planner.instance import add, life

__all__ = ["add", "cluster", "disk", "image", "life", "network", "node", "pool", "repair", "token"]
