"""Every kind of step, one module a noun."""

from covey.model.steps import disk, image, instance, network, node, pool

__all__ = ["disk", "image", "instance", "network", "node", "pool"]
