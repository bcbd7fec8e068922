"""Instances: one module for each group of verbs."""

from covey.cli.instance import add, console, life, looks, remove
from covey.cli.instance.noun import command

__all__ = ["add", "command", "console", "life", "looks", "remove"]
