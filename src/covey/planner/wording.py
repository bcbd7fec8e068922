"""Sentences that several planners need."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5


def named(names: Sequence[str]) -> str:
    """ "a, b and 3 more": names for a sentence, however many there are."""
    shown, more = list(names[:SHOWN]), len(names) - SHOWN
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join((", ".join(shown[:-1]), shown[-1])) if len(shown) > 1 else "".join(shown)
