"""Bridges and packet rules on one machine."""
