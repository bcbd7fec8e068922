"""Sentences, times and tables for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from covey.base.errors import CoveyError
from covey.base.units import humane_duration, humane_size

NONE = "-"


def printable(text: object) -> str:
    """Text that a terminal can be given: whatever a guest or a peer put in, no control character gets through."""
    whole = str(text)
    return whole if whole.isprintable() else "".join(c if c.isprintable() else " " if c in "\n\t\r" else "?" for c in whole)


def tell(error: CoveyError) -> None:
    """An error on standard error: what happened to what, and what to do."""
    complain(f"covey: {f'{error.object}: ' if error.object else ''}{error.what}", error.hint)


def complain(sentence: str, hint: str = "") -> None:
    sys.stdout.flush()
    print(printable(sentence) + (f"\n  {printable(advice(hint))}" if hint else ""), file=sys.stderr, flush=True)


def advice(hint: str) -> str:
    """A hint as it is shown: what to try, or where to look."""
    return hint if hint.startswith("see: ") else f"try: {hint}"


def say(line: str = "") -> None:
    print(printable(line))


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def seconds_of(moment: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, None for none."""
    if not moment:
        return None
    from covey.base.clock import parse_time

    return parse_time(moment)


def when(moment: str | None) -> str:
    """A time as the clock on the wall shows it, to the second."""
    seconds = seconds_of(moment)
    return NONE if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def since(moment: str | None, now: float) -> str:
    """How long ago: 1d 7h."""
    seconds = seconds_of(moment)
    return NONE if seconds is None else humane_duration(max(0.0, now - seconds))


def size(value: float | None) -> str:
    return NONE if value is None else humane_size(value)


def spoken_size(value: float) -> str:
    """A size in running text: 20 GiB, 1.5 TiB, 100 B."""
    short = humane_size(value)
    return f"{short[:-1]} {short[-1]}iB" if short[-1].isalpha() else f"{short} B"


class Column(NamedTuple):
    """A column of a list: its name on the command line, the fields of the API that it needs, what it shows of an object now."""

    name: str
    fields: tuple[str, ...]
    show: Callable[[dict[str, Any], float], str]
    right: bool = False


def plain(name: str, field: str = "", right: bool = False) -> Column:
    """The value as it is; lists joined, nothing as "-"."""
    key = field or name
    return Column(name, (key,), lambda item, now: as_text(item.get(key)), right)


def sized(name: str, field: str = "") -> Column:
    key = field or name
    return Column(name, (key,), lambda item, now: size(item.get(key)), right=True)


def timed(name: str, field: str) -> Column:
    return Column(name, (field,), lambda item, now: when(item.get(field)))


def as_text(value: object) -> str:
    if value is None or value == "" or value == []:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def table(columns: Sequence[Column], items: Iterable[dict[str, Any]], now: float, header: bool = True) -> list[str]:
    """The lines of a list, each column as wide as it must be."""
    rows = [[printable(column.show(item, now)) for column in columns] for item in items]
    if header:
        rows.insert(0, [column.name.upper().replace("_", "-") for column in columns])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    pads = [str.rjust if column.right else str.ljust for column in columns]
    return ["  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)).rstrip() for row in rows]


def paragraph(label: str, facts: Iterable[tuple[str, str]]) -> None:
    """A heading and aligned facts; empty ones are left out."""
    say(label)
    present = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        say(f"  {name:<{width}}  {value}")
