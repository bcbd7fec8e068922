"""Snapshots of instances."""

from __future__ import annotations

from starlette.responses import Response

from covey.api.changes import change, is_good_still
from covey.api.documents import SnapshotDocument, page_of
from covey.api.operation import (
    AFTER_ITEM,
    AT_LEAST,
    FIELDS,
    FILTER,
    IF_NONE_MATCH,
    JSON,
    LIMIT,
    Call,
    Operation,
)
from covey.base.errors import BadInput, check
from covey.model.requests.snapshot import AddSnapshot, RemoveSnapshot, RevertSnapshot
from covey.service import snapshots
from covey.service.listing import LARGEST_PAGE, dumps

OF_INSTANCE = "/v1/instances/{name}/snapshots"
PARTS = {"name": "instance", "snapshot": "snapshot"}


async def show_all(call: Call) -> Response:
    query = call.query
    check(query["limit"] <= LARGEST_PAGE, BadInput(f"must be at most {LARGEST_PAGE}", "limit"))
    view = await call.inside.view_at(query["at_least"])
    etag = call.inside.tally.etag(view, snapshots.COLLECTIONS, live=False)
    if is_good_still(call, etag):
        return Response(status_code=304, headers={"etag": etag})
    items, following = snapshots.page(view, query["filter"], query["fields"], query["limit"], query["after"])
    answer = {"items": items, "next": following or None, "revision": call.inside.tally.revision(snapshots.COLLECTIONS)}
    return Response(dumps(answer), 200, {"etag": etag}, JSON)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/snapshots",
        "list_snapshots",
        "All snapshots of all instances",
        "snapshot.read",
        show_all,
        {200: page_of(SnapshotDocument), 304: None},
        (FILTER, FIELDS, LIMIT, AFTER_ITEM, AT_LEAST),
        (IF_NONE_MATCH,),
    ),
    change(
        "POST",
        OF_INSTANCE,
        "add_snapshot",
        "Freeze all its disks at one moment",
        AddSnapshot,
        {"name": "instance"},
        target="instance",
        example={"name": "before-upgrade"},
    ),
    change(
        "POST",
        f"{OF_INSTANCE}/{{snapshot}}/revert",
        "revert_snapshot",
        "Make its disks again what they were",
        RevertSnapshot,
        PARTS,
        target="instance",
    ),
    change(
        "DELETE",
        f"{OF_INSTANCE}/{{snapshot}}",
        "remove_snapshot",
        "Give a snapshot up; the disks stay as they are",
        RemoveSnapshot,
        PARTS,
        target="instance",
    ),
)
