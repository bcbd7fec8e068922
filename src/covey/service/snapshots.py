"""Snapshots of all instances as a list: their names are unique within one instance only."""

from __future__ import annotations

from covey.base.errors import BadInput, check
from covey.model.snapshot import Snapshot
from covey.model.view import ClusterView
from covey.service import documents
from covey.service.documents import Document
from covey.service.filters import NO_FILTER, parse_fields, parse_filter

FIELDS = frozenset(["name", "id", "instance", "created_at", "quiesced", "current", "size", "disks", "notes"])
COLLECTIONS = ("snapshot", "layer", "instance", "pool")


def page(view: ClusterView, filter_text: str, fields: str, limit: int, after: str) -> tuple[list[Document], str]:
    """Those of instances that are there, sorted by instance, the oldest first; and the cursor of the next page. Raises BadInput."""
    wanted = parse_filter(filter_text, FIELDS) if filter_text else NO_FILTER
    shown = parse_fields(fields, FIELDS)
    rows = [
        documents.snapshot(view, snapshot)
        for snapshot in view.all("snapshot", Snapshot)
        if view.find("instance", snapshot.instance)
    ]
    rows.sort(key=lambda row: (row["instance"], row["created_at"] or "", row["id"]))
    if after:
        ids = [row["id"] for row in rows]
        check(after in ids, BadInput("there is no such snapshot any more", "after", "begin anew"))
        rows = rows[ids.index(after) + 1 :]
    rows = [row for row in rows if wanted(row)]
    following = rows[limit - 1]["id"] if limit and len(rows) > limit else ""
    rows = rows[:limit] if limit else rows
    return [{field: row[field] for field in shown} for row in rows] if shown else rows, following
