"""Guests that move from one machine to another while they run."""
