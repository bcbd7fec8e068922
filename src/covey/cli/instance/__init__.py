"""Instances: one module for each group of verbs."""

from covey.cli.instance import add, clone, console, guest, life, looks, migrate, modify, move, remove, renew, screenshot
from covey.cli.instance.noun import command

__all__ = [
    "add",
    "clone",
    "command",
    "console",
    "guest",
    "life",
    "looks",
    "migrate",
    "modify",
    "move",
    "remove",
    "renew",
    "screenshot",
]
