"""What a job was asked for, in words: its request without what the title says, and without what is usual."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from covey.base.units import humane_duration, humane_rate, humane_size

LEAD = "  asked:   "
WIDTH = 80
LONGEST = 60  # characters of one value; --json has all of it
SIZES = {"size", "memory", "max_memory", "length", "needs"}
RATES = {"limit_in", "limit_out"}


def asked_lines(request: Mapping[str, Any], title: str) -> list[str]:
    """No line where the title says it all."""
    usual = _usual(str(request.get("kind", "")))
    said = [
        f"{_spoken(name)} {_words(name, value)}"
        for name, value in request.items()
        if name != "kind" and value is not None and value != usual.get(name, "") and str(value) not in title.split()
    ]
    return textwrap.wrap("; ".join(said), WIDTH, initial_indent=LEAD, subsequent_indent=" " * len(LEAD), break_on_hyphens=False)


def _usual(kind: str) -> dict[str, Any]:
    """What each field of such a request is unless somebody says so, as JSON has it; none are known of a newer release's kind."""
    import covey.model.requests  # noqa: F401  (its modules register the kinds)
    from covey.model import codec
    from covey.model.request import Request

    known: Any = codec.members(Request).get(kind)
    defaults = {each.name: each.default for each in fields(known) if each.default is not MISSING} if known else {}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


def _spoken(name: str) -> str:
    return name.removesuffix("_s").removesuffix("_at").replace("_", " ")


def _words(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(name, value)
    if isinstance(value, list):
        return ", ".join(_words(name, each) for each in value) or "none"
    if isinstance(value, Mapping):
        inner = [f"{_spoken(key)} {_words(key, each)}" for key, each in value.items() if not _says_nothing(each)]
        return f"({', '.join(inner)})" if inner else "(as usual)"
    text = " ".join(str(value).split())
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}...") or "none"


def _number(name: str, value: float) -> str:
    if name in SIZES:
        return humane_size(value)
    if name in RATES:
        return humane_rate(int(value))
    return humane_duration(value) if name.endswith("_s") else f"{value:g}" if isinstance(value, float) else str(value)


def _says_nothing(value: Any) -> bool:
    """Of a part of a request: a disk's pool that was left to the cluster, a NIC that is up."""
    return value is None or value is True or value in ("", "auto", []) or (value == 0 and value is not False)
