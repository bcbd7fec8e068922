"""Disks: one module for each group of verbs."""

from covey.cli.disk import changes, listing, transfer
from covey.cli.disk.noun import command

__all__ = ["changes", "command", "listing", "transfer"]
