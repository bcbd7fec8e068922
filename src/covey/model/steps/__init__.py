"""Every kind of step, one module a noun."""

from covey.model.steps import disk, firewall, image, instance, migration, network, nic, node, pool, snapshot

__all__ = ["disk", "firewall", "image", "instance", "migration", "network", "nic", "node", "pool", "snapshot"]
