"""Disks and NICs of all instances as lists: their numbers are unique within one instance only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from covey.base.errors import BadInput, check
from covey.model.instance import Instance
from covey.model.view import ClusterView
from covey.service import documents
from covey.service.documents import Document, name_of
from covey.service.filters import NO_FILTER, parse_fields, parse_filter


@dataclass(frozen=True, slots=True)
class Part:
    """Something that instances have several of. `of` gives those of one instance, `collections` is what their documents are made from."""

    of: Callable[[ClusterView, Instance], Iterator[Document]]
    fields: frozenset[str]
    collections: tuple[str, ...]


def _disks(view: ClusterView, instance: Instance) -> Iterator[Document]:
    return (documents.disk(view, disk) for disk in instance.disks)


def _nics(view: ClusterView, instance: Instance) -> Iterator[Document]:
    return (documents.nic(view, instance, nic) for nic in instance.nics)


def _part(of: Callable[[ClusterView, Instance], Iterator[Document]], fields: str, *others: str) -> Part:
    return Part(of, frozenset(("instance", "node", *fields.split())), ("instance", "node", *others))


DISK = _part(_disks, "index size pool format image volume", "pool", "image")
NIC = _part(
    _nics,
    "index network mac address up guarded also limit_in limit_out firewalls rules tap address6",
    "network",
    "firewall",
)


def page(view: ClusterView, part: Part, filter_text: str, fields: str, limit: int, after: str) -> tuple[list[Document], str]:
    """Those of all instances, by instance and number; and the cursor of the next page, "" at the end. Raises BadInput."""
    wanted = parse_filter(filter_text, part.fields) if filter_text else NO_FILTER
    shown = parse_fields(fields, part.fields)
    behind = _place(after) if after else ("", -1)
    rows = (row for row in _rows(view, part, behind[0]) if (row["instance"], row["index"]) > behind and wanted(row))
    found: list[Document] = []
    for row in rows:
        if limit and len(found) == limit:
            return [_only(shown, kept) for kept in found], f"{found[-1]['instance']}/{found[-1]['index']}"
        found.append(row)
    return [_only(shown, kept) for kept in found], ""


def _rows(view: ClusterView, part: Part, first: str) -> Iterator[Document]:
    for instance in sorted((each for each in view.instances if each.name >= first), key=lambda each: each.name):
        node = name_of(view, "node", instance.node)
        for row in sorted(part.of(view, instance), key=lambda row: int(row["index"])):
            yield {"instance": instance.name, "node": node, **row}


def _only(fields: tuple[str, ...], row: Document) -> dict[str, Any]:
    return {field: row[field] for field in fields} if fields else row


def _place(cursor: str) -> tuple[str, int]:
    name, slash, number = cursor.rpartition("/")
    check(slash and number.isascii() and number.isdigit() and len(number) < 10, BadInput("is no cursor of this list", "after"))
    return name, int(number)
