"""Verbs of instances."""
