"""Handlers of steps, one module a noun: importing this registers them all."""

from covey.agent.steps import disk, image, instance, network, node, pool

__all__ = ["disk", "image", "instance", "network", "node", "pool"]
