"""The filter of lists: `state=running tag=web memory>1G`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from covey.base.errors import BadInput, check
from covey.base.units import parse_size

LONGEST = 1_000
MOST_TERMS = 20  # each costs a look at every row, in the one process that leads
_TERM = re.compile(r"([a-z_]+(?:\.[a-z_]+)?)(!=|=|<|>)(.*)", re.ASCII)
_ALIASES = {"tag": "tags", "address": "addresses", "ssh_key": "ssh_keys"}
Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """Every term holds. `fields` are those that it looks at."""

    terms: tuple[Predicate, ...] = ()
    fields: frozenset[str] = frozenset()

    def __call__(self, row: Row) -> bool:
        return all(term(row) for term in self.terms)


NO_FILTER = Filter()


def parse_filter(text: str, known: frozenset[str]) -> Filter:
    """Raises BadInput naming the fields there are."""
    check(len(text) <= LONGEST, BadInput(f"the filter is longer than {LONGEST} characters", "filter"))
    terms, fields = [], set()
    words = text.split()
    check(len(words) <= MOST_TERMS, BadInput(f"at most {MOST_TERMS} conditions", "filter"))
    for word in words:
        match = _TERM.fullmatch(word)
        if not match:
            raise BadInput(
                f"{word[:80]!r} is no condition", "filter", "write FIELD=PATTERN, FIELD!=PATTERN, FIELD>NUMBER or FIELD<NUMBER"
            )
        field, operator, value = match[1], match[2], match[3]
        field = _ALIASES.get(field, field)
        check_field(field, known, "filter")
        fields.add(field)
        terms.append(_number_term(field, operator, value) if operator in "<>" else _text_term(field, operator, value))
    return Filter(tuple(terms), frozenset(fields))


def parse_fields(text: str, known: frozenset[str]) -> tuple[str, ...]:
    """The names of `fields=name,state`; () means all of them. Raises BadInput naming the fields there are."""
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        check_field(name, known, "fields")
    return names


def check_field(name: str, known: frozenset[str], object: str) -> None:
    check(name in known, BadInput(f"there is no field {name[:80]!r}", object, f"there are: {', '.join(sorted(known))}"))


def _text_term(field: str, operator: str, pattern: str) -> Predicate:
    matches = re.compile(translate(pattern)).match  # translate() is proof against catastrophic patterns
    wanted = operator == "="

    def holds(row: Row) -> bool:
        value = row.get(field)
        values = value if isinstance(value, list) else [value]
        return any(matches(_text(item)) is not None for item in values) == wanted

    return holds


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return str(value.get("name", ""))
    return "" if value is None else str(value)


def _number_term(field: str, operator: str, text: str) -> Predicate:
    try:
        bound = float(text)
    except ValueError:
        bound = float(parse_size(text, f"filter {field}"))
    check(bound == bound, BadInput("needs a number", f"filter {field}"))

    def holds(row: Row) -> bool:
        value = row.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value > bound if operator == ">" else value < bound

    return holds
