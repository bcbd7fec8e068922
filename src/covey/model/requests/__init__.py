"""Every request, one module a noun."""

from covey.model.requests import cluster, disk, image, instance, network, node, pool, repair, token

__all__ = ["cluster", "disk", "image", "instance", "network", "node", "pool", "repair", "token"]
