"""Lists of what instances have several of."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response

from covey.api.changes import is_good_still
from covey.api.documents import page_of
from covey.api.operation import AFTER_ITEM, AT_LEAST, FIELDS, FILTER, IF_NONE_MATCH, JSON, LIMIT, Call, Operation
from covey.base.errors import BadInput, check
from covey.service.listing import LARGEST_PAGE, dumps
from covey.service.parts import Part, page


def parts_listed(part: Part, path: str, id: str, summary: str, document: type[BaseModel]) -> Operation:
    """GET of those of all instances."""

    async def handle(call: Call) -> Response:
        query = call.query
        check(query["limit"] <= LARGEST_PAGE, BadInput(f"must be at most {LARGEST_PAGE}", "limit"))
        view = await call.inside.view_at(query["at_least"])
        etag = call.inside.tally.etag(view, part.collections, live=False)
        if is_good_still(call, etag):
            return Response(status_code=304, headers={"etag": etag})
        items, following = page(view, part, query["filter"], query["fields"], query["limit"], query["after"])
        answer = {"items": items, "next": following or None, "revision": call.inside.tally.revision(part.collections)}
        return Response(dumps(answer), 200, {"etag": etag}, JSON)

    return Operation(
        "GET",
        path,
        id,
        summary,
        "instance.read",
        handle,
        {200: page_of(document), 304: None},
        (FILTER, FIELDS, LIMIT, AFTER_ITEM, AT_LEAST),
        (IF_NONE_MATCH,),
    )
