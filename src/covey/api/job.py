"""Jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response

from covey.api.changes import is_good_still
from covey.api.documents import JobDocument, page_of
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
    Parameter,
    json_response,
)
from covey.api.stream import KEEPALIVE_S, MEDIA_TYPE, news_or_end, sse, stream_response
from covey.base.errors import BadInput, check
from covey.model.job import ENDED
from covey.model.record import key
from covey.model.view import ClusterView
from covey.service import jobs
from covey.service.filters import parse_fields
from covey.service.inside import Inside
from covey.service.listing import dumps
from covey.store.feed import Changes

LONGEST_WAIT_S = 60.0
PROGRESS_EVERY_S = 0.25  # how soon a stream tells of a step's progress, which comes by telemetry and not by the feed
WAIT = Parameter("wait_s", float, "Answer once the job has ended, or after so many seconds.", 0.0, most=LONGEST_WAIT_S)
KNOWN = frozenset(JobDocument.model_fields)


async def show_all(call: Call) -> Response:
    """Newest first. There is an ETag unless something runs, whose seconds grow while nothing else changes."""
    query, inside = call.query, call.inside
    check(query["limit"] <= 10_000, BadInput("must be at most 10000", "limit"))
    fields = parse_fields(query["fields"], KNOWN)
    view = await inside.view_at(query["at_least"])
    etag = inside.tally.etag(view, ("job", "plan"), live=False)[:-1] + f'.{inside.history.revision}"'
    still = not any(True for _ in view.jobs)
    if still and is_good_still(call, etag):
        return Response(status_code=304, headers={"etag": etag})
    items, following = await jobs.listing(inside, query["filter"], query["limit"], query["after"])
    if fields:
        items = [{field: item.get(field) for field in fields} for item in items]
    revision = max(inside.tally.revision(("job", "plan")), 0)
    answer = {"items": items, "next": following or None, "revision": revision}
    return Response(dumps(answer), 200, {"etag": etag} if still else None, JSON)


async def show(call: Call) -> Response:
    return json_response(await jobs.single(call.inside, call.number("id"), call.query["wait_s"]))


async def cancel(call: Call) -> Response:
    await call.body()
    id = call.number("id")
    await call.inside.engine.cancel(id, call.principal.name)
    return json_response(await jobs.single(call.inside, id), 202, {"location": f"/v1/jobs/{id}"})


async def follow(call: Call) -> Response:
    id = call.number("id")
    await jobs.single(call.inside, id)  # a job that is not there is a problem, not a stream
    return stream_response(_changes(call.inside, id))


async def _changes(inside: Inside, id: int) -> AsyncIterator[bytes]:
    """The job at each change, and what its present step tells of its progress, until it has ended."""
    news = asyncio.Event()
    keys = {key("job", f"{id:010d}"), key("plan", f"{id:010d}")}

    def listener(before: ClusterView, after: ClusterView, changes: Changes) -> None:
        if any(changed in keys for changed, _ in changes):
            news.set()

    inside.feed.listen(listener)
    forget = inside.history.on_end(id, news.set)
    try:
        shown: object = None
        told: object = None
        silent_s = 0.0
        while True:
            document = await jobs.single(inside, id)
            progress = document["progress"]
            state = (inside.view.revision_of("job", f"{id:010d}"), document["state"], document["step"], document["blocked"])
            if state != shown:
                yield sse("job", document)
                shown, silent_s = state, 0.0
            if progress and progress != told:
                yield sse("progress", {"step": document["step"] + 1, **progress})
                told, silent_s = progress, 0.0
            if document["state"] in ENDED:
                return
            if silent_s >= KEEPALIVE_S:
                yield b": still here\n\n"
                silent_s = 0.0
            pause = PROGRESS_EVERY_S if document["state"] in ("running", "undoing") else KEEPALIVE_S
            if not await news_or_end(inside, news, pause):
                return
            silent_s += pause
    finally:
        inside.feed.ignore(listener)
        forget()


OPERATIONS = (
    Operation(
        "GET",
        "/v1/jobs",
        "list_jobs",
        "Jobs that run and that ended, newest first",
        "job.read",
        show_all,
        {200: page_of(JobDocument), 304: None},
        (FILTER, FIELDS, LIMIT, AFTER_ITEM, AT_LEAST),
        (IF_NONE_MATCH,),
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}",
        "show_job",
        "One job; with wait_s, once it has ended",
        "job.read",
        show,
        {200: JobDocument},
        (WAIT,),
        errors=(404,),
    ),
    Operation(
        "POST",
        "/v1/jobs/{id}/cancel",
        "cancel_job",
        "Take it back, as long as that is possible",
        "job.cancel",
        cancel,
        {202: JobDocument},
        errors=(404, 409, 413),
    ),
    Operation(
        "GET",
        "/v1/jobs/{id}/stream",
        "follow_job",
        "The job at each change (event job), its progress (event progress), until it has ended",
        "job.read",
        follow,
        {200: None},
        errors=(404,),
        media_type=MEDIA_TYPE,
    ),
)
