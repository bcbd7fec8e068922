"""Handlers of steps, one module a noun: importing this registers them all."""

from covey.agent.steps import disk, firewall, image, instance, migration, network, nic, node, pool, snapshot

__all__ = ["disk", "firewall", "image", "instance", "migration", "network", "nic", "node", "pool", "snapshot"]
