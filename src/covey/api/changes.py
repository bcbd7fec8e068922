"""Operations that all nouns have alike: changes, lists and single documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from covey.api.bodies import body_of
from covey.api.documents import JobDocument, PlanDocument, page_of
from covey.api.operation import (
    AFTER_ITEM,
    AFTER_JOBS,
    AT_LEAST,
    DRY_RUN,
    EXPECT,
    FIELDS,
    FILTER,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    KEY,
    LIMIT,
    REASON,
    Call,
    Operation,
    Parameter,
    json_response,
)
from covey.base.errors import BadInput, check
from covey.model.request import Request
from covey.service import jobs
from covey.service.listing import Noun, Query, dumps, record_revision
from covey.service.submit import Options, Taken

Values = dict[str, Any]
Complete = Callable[[Call, Values], Values]
More = Callable[[Call, Request], Values]


def change(
    method: str,
    path: str,
    id: str,
    summary: str,
    request: type[Request],
    in_path: Mapping[str, str] | None = None,
    target: str = "",
    complete: Complete | None = None,
    partial: tuple[str, ...] = (),
    answer: type[BaseModel] = JobDocument,
    example: Any = None,
    also: tuple[Parameter, ...] = (),
    more: More | None = None,
) -> Operation:
    """A request as an operation. `in_path` says which of its fields each part of the path gives; `target` is the collection that
    If-Match is about; `complete` makes further values from those of the body, in which `partial` fields are dicts; `also` are fields
    that the query gives; `more` are values of the answer that the job itself does not have."""
    parts = dict(in_path or {})
    body = body_of(request, parts.values(), partial)
    has_body = method != "DELETE" and bool(body.model.model_fields)
    headers = (KEY, IF_MATCH) if target else (KEY,)

    async def handle(call: Call) -> Response:
        data = await call.body()
        values = body.values(data if has_body else b"")
        for part, name in parts.items():
            values[name] = call.number(part) if part in ("index", "id") else call.path[part]
        values |= {each.name: call.query[each.name] for each in also}
        if complete:
            values = complete(call, values)
        options = options_of(call, target)
        wanted = request(**values)
        if call.query["dry_run"]:
            plan = call.submissions.preview(call.principal, wanted, options)
            return json_response(jobs.plan_document(call.inside.view, plan))
        taken = await call.submissions.take(call.principal, wanted, options)
        return await taken_response(call, taken, more(call, wanted) if more else None)

    return Operation(
        method,
        path,
        id,
        summary,
        request.kind,
        handle,
        {202: answer, 200: PlanDocument},
        (*also, DRY_RUN, REASON, AFTER_JOBS, EXPECT),
        headers,
        body.model if has_body else None,
        (404, 409, 413, *((412,) if target else ())),
        example=example,
    )


def options_of(call: Call, target: str) -> Options:
    """Raises BadInput."""
    query = call.query
    revision: int | None = None
    etag = call.header("if-match") if target else ""
    if etag and etag != "*":
        revision = record_revision(etag)
        check(revision is not None, BadInput(f"{etag[:80]!r} is no ETag of a single object here", "If-Match"))
    return Options(
        query["reason"],
        _numbers(query["after"]) if query["after"] else (),
        query.get("expect", ""),
        call.header("idempotency-key"),
        (target, call.path.get("name", "")),
        revision,
    )


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    check(
        all(word.isascii() and word.isdigit() and len(word) < 16 for word in words),
        BadInput(f"{text[:80]!r} are no jobs", "after", "write their numbers: 12,13"),
    )
    return tuple(int(word) for word in words)


async def taken_response(call: Call, taken: Taken, more: Values | None = None) -> Response:
    """202 with the job, as it is at this moment."""
    if taken.job is None:
        document = await jobs.single(call.inside, taken.id)
    else:
        document = jobs.job_document(call.inside.view, taken.job, None, taken.job.created_at)
        if taken.secret:
            document["secret"] = taken.secret
    return Response(dumps(document | (more or {})), 202, {"location": f"/v1/jobs/{taken.id}"}, JSON)


def listed(noun: Noun, path: str, id: str, summary: str, document: type[BaseModel], permission: str) -> Operation:
    """GET of a collection."""

    async def handle(call: Call) -> Response:
        query = call.query
        wanted = Query.of(noun, query["filter"], query["fields"], query["limit"], query["after"])
        view = await call.inside.view_at(query["at_least"])
        etag = call.listings.etag(view, noun, wanted)
        if is_good_still(call, etag):
            return Response(status_code=304, headers={"etag": etag})
        return Response(call.listings.page(view, noun, wanted), 200, {"etag": etag}, JSON)

    return Operation(
        "GET",
        path,
        id,
        summary,
        permission,
        handle,
        {200: page_of(document), 304: None},
        (FILTER, FIELDS, LIMIT, AFTER_ITEM, AT_LEAST),
        (IF_NONE_MATCH,),
    )


def shown(noun: Noun, path: str, id: str, summary: str, document: type[BaseModel], permission: str) -> Operation:
    """GET of one object."""

    async def handle(call: Call) -> Response:
        view = await call.inside.view_at(call.query["at_least"])
        body, etag = call.listings.single(view, noun, call.path["name"])
        if is_good_still(call, etag):
            return Response(status_code=304, headers={"etag": etag})
        return Response(body, 200, {"etag": etag}, JSON)

    return Operation(
        "GET", path, id, summary, permission, handle, {200: document, 304: None}, (AT_LEAST,), (IF_NONE_MATCH,), errors=(404,)
    )


def is_good_still(call: Call, etag: str) -> bool:
    """Whether the client has this answer (RFC 9110, If-None-Match: compared weakly)."""
    given = call.header("if-none-match")
    return bool(given) and (given == "*" or etag in (one.strip().removeprefix("W/") for one in given.split(",")))
