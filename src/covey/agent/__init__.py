"""Carries steps out on one machine. Decides nothing."""
