"""Operations: what the API can do, each declared once. The declaration makes the route, the checks and the OpenAPI document.

FastAPI writes the document (from a signature made of the declaration) and routes; its own parsing of parameters and bodies is passed by,
as it costs more than all the rest of a request.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl

import structlog
from fastapi import Header, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from covey.api.bodies import Body
from covey.api.documents import Problem
from covey.api.passing import pass_on
from covey.api.problems import MEDIA_TYPE, TooLarge, problem_response
from covey.base import metrics
from covey.base.clock import render_time
from covey.base.errors import BadInput, Bug, CoveyError
from covey.service.access import Principal, check_allowed
from covey.service.inside import Inside
from covey.service.listing import Listings, dumps
from covey.service.standing import Standing
from covey.service.submit import Submissions

LARGEST_BODY = 2**20
LARGEST_NUMBER = 2**53 - 1  # what JSON's readers hold exactly
JSON = "application/json"
STALE = "covey-stale-as-of"  # on an answer that may be old
BYTES = "application/octet-stream"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or a header. `kind` is str, int, float or bool; numbers are from `least` to `most`."""

    name: str
    kind: type
    about: str
    default: Any = None
    least: float = 0
    most: float = LARGEST_NUMBER
    longest: int = 1_000
    example: Any = None

    def parse(self, text: str) -> Any:
        """Raises BadInput."""
        if len(text) > self.longest:
            raise BadInput(f"is longer than {self.longest} characters", self.name)
        if self.kind is str:
            return text
        if self.kind is bool:
            if text not in ("true", "false"):
                raise BadInput(f"{text[:40]!r} is neither true nor false", self.name)
            return text == "true"
        try:
            number = self.kind(text) if _NUMBER.fullmatch(text) else None
        except ValueError:
            number = None
        if number is None or not self.least <= number <= self.most:
            kind = "whole number" if self.kind is int else "number"
            raise BadInput(f"{text[:40]!r} is no {kind} from {self.least:g} to {self.most:g}", self.name)
        return number


_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
FILTER = Parameter(
    "filter",
    str,
    "Space-separated conditions, all of which hold: FIELD=GLOB, FIELD!=GLOB, FIELD>NUMBER, FIELD<NUMBER.",
    "",
    example="state=running tag=web",
)
FIELDS = Parameter("fields", str, "Only these fields, separated by commas.", "", example="name,state")
LIMIT = Parameter("limit", int, "At most so many items; 0 is all.", 0, most=10_000)
AFTER_ITEM = Parameter("after", str, "The cursor `next` of the page before.", "")
AT_LEAST = Parameter("at_least", int, "Wait until the answer holds this revision.", 0)
DRY_RUN = Parameter("dry_run", bool, "Answer with the plan and change nothing.", False)
REASON = Parameter("reason", str, "Why; kept with the job.", "", example="kernel update")
AFTER_JOBS = Parameter("after", str, "Jobs to come after, separated by commas.", "", example="12,13")
PURGE = Parameter("purge", bool, "Keep nothing of it. What was removed before goes for good, too.", False)
EXPECT = Parameter(
    "expect", str, "The digest of the plan that was shown: refused when it would be another one now.", "", longest=64
)
KEY = Parameter(
    "Idempotency-Key", str, "Sending the change again under the same key is the same job, for 24 hours.", "", longest=200
)
IF_MATCH = Parameter("If-Match", str, "The ETag of what was looked at: refused with 412 when it has been changed since.", "")
IF_NONE_MATCH = Parameter("If-None-Match", str, "The ETag of the answer at hand: 304 when it is still good.", "")


@dataclass(slots=True)
class Call:
    """One request on its way: who asks, and what was given."""

    inside: Inside
    submissions: Submissions
    listings: Listings
    principal: Principal
    request: Request
    path: Mapping[str, str]
    query: dict[str, Any] = field(default_factory=dict)

    def header(self, name: str) -> str:
        wanted = name.lower().encode()
        for key, value in self.request.scope["headers"]:
            if key == wanted:
                return str(value.decode("latin-1"))
        return ""

    def number(self, name: str) -> int:
        """A number in the path. Raises BadInput."""
        return int(Parameter(name, int, "", most=10**12).parse(self.path[name]))

    async def body(self) -> bytes:
        """The whole body. Raises TooLarge as soon as it is beyond the limit, whatever was announced."""
        announced = self.header("content-length")
        if announced.isdigit() and int(announced[:20]) > LARGEST_BODY:
            raise too_large()
        pieces: list[bytes] = []
        size = 0
        async for piece in self.request.stream():
            size += len(piece)
            if size > LARGEST_BODY:
                raise too_large()
            pieces.append(piece)
        return b"".join(pieces)


def too_large() -> TooLarge:
    return TooLarge(f"it is larger than {LARGEST_BODY} bytes", "body", "send less")


Handle = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`id` is the operationId, `permission` what the caller needs. `answers` are the models of good answers by
    status, `errors` the statuses of bad ones beyond those that any operation has. `media_type` is that of good answers."""

    method: str
    path: str
    id: str
    summary: str
    permission: str
    handle: Handle
    answers: Mapping[int, type[BaseModel] | None]
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    media_type: str = JSON
    example: Any = None
    takes_bytes: bool = False  # the body is no JSON, and may be of any length
    asks_nodes: bool = False  # only the leader reaches them
    anywhere: bool = False  # any controller does it, even while nobody can lead

    @property
    def by_leader(self) -> bool:
        """Whether a controller that follows passes it on."""
        return not self.anywhere and (self.asks_nodes or self.method != "GET")

    def parse_query(self, text: bytes) -> dict[str, Any]:
        """Every declared parameter, with its default when it is absent. Raises BadInput, for unknown ones too: a mistyped
        dry_run must not become a change."""
        values = {parameter.name: parameter.default for parameter in self.query}
        if text:
            known = {parameter.name: parameter for parameter in self.query}
            try:
                given = parse_qsl(text.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
            except ValueError as error:
                raise BadInput("there are too many parameters", "query") from error
            names = [name for name, _ in given]
            for name, value in given:
                if name not in known:
                    raise BadInput("there is no such parameter", f"query {name[:80]}", f"there are: {', '.join(known) or 'none'}")
                if names.count(name) > 1:
                    raise BadInput("it is given twice", f"query {name}", "say once what is wanted")
                values[name] = known[name].parse(value)
        return values

    def check_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises BadInput for a declared header that is too long."""
        longest = {parameter.name.lower().encode(): parameter for parameter in self.headers}
        for name, value in headers:
            parameter = longest.get(name)
            if parameter:
                parameter.parse(value.decode("latin-1"))


class Context:
    """What all operations of one app share."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.submissions = Submissions(inside)
        self.listings = Listings(inside.tally)


def endpoint(operation: Operation, context: Context) -> Callable[[Request], Awaitable[Response]]:
    """The function that carries an operation out. Nothing but an answer comes out of it."""
    parse_query, permission, handle = operation.parse_query, operation.permission, operation.handle
    inside, submissions, listings = context.inside, context.submissions, context.listings
    standing, by_leader = inside.standing, operation.by_leader
    took, monotonic = metrics.REQUEST_S.labels(operation.id), inside.clock.monotonic

    async def measured(request: Request) -> Response:
        began = monotonic()
        response = await answer(request)
        if standing.lead is None and not by_leader:
            _mark_stale(response, standing)
        took.observe(monotonic() - began)
        metrics.REQUESTS.labels(operation.id, str(response.status_code)).inc()
        return response

    async def answer(request: Request) -> Response:
        scope = request.scope
        try:
            principal: Principal = scope["covey.principal"]
            check_allowed(principal, permission)
            if by_leader and standing.lead is None:
                return await pass_on(inside, request, principal)
            operation.check_headers(scope["headers"])
            query = parse_query(scope["query_string"])
            return await handle(Call(inside, submissions, listings, principal, request, scope["path_params"], query))
        except CoveyError as error:
            return problem_response(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it
        except Exception as error:
            log.exception("an operation failed", operation=operation.id)
            return problem_response(
                Bug(f"{type(error).__name__} in {operation.id}", operation.id, "this is a bug of Covey: see its log")
            )

    return measured


def _mark_stale(response: Response, standing: Standing) -> None:
    """A follower that does not hear its leader says as of when its answer is."""
    as_of = standing.stale_as_of
    if as_of is not None:
        response.headers[STALE] = render_time(as_of)


def route_of(operation: Operation, context: Context) -> dict[str, Any]:
    """The arguments of FastAPI's add_api_route."""
    answer = endpoint(operation, context)

    def documented(**_: Any) -> None:  # only its signature counts: it says what the OpenAPI document needs
        return None

    documented.__signature__ = _signature(operation)  # type: ignore[attr-defined]
    documented.__name__ = operation.id

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            return answer

    status = min(operation.answers)
    declared: dict[int | str, dict[str, Any]] = {
        code: {"description": _MEANINGS[code], "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for code in sorted({400, 401, 403, 405, 500, 503, *operation.errors})
    }
    for code, model in operation.answers.items():
        if code != status and model is not None:
            declared[code] = {"description": _MEANINGS[code], "model": model}
        elif code != status:
            declared[code] = {"description": _MEANINGS[code]}
    return {
        "path": operation.path,
        "endpoint": documented,
        "methods": [operation.method],
        "operation_id": operation.id,
        "summary": operation.summary,
        "status_code": status,
        "response_model": operation.answers[status],
        "response_class": _media(operation.media_type),
        "responses": declared,
        "response_description": _MEANINGS[status],
        "route_class_override": Route,
        "openapi_extra": _extra(operation),
    }


_MEANINGS = {
    200: "As asked.",
    202: "Taken in as a job.",
    304: "What you have is still good.",
    400: "Not well-formed.",
    401: "Nobody is known to ask.",
    403: "The role may not.",
    404: "There is no such object.",
    405: "Not with this method.",
    409: "Well-formed, but not now or not so.",
    412: "It has changed since it was looked at.",
    413: "The body is too large.",
    500: "A mistake of Covey's.",
    503: "Something needed gives no answer; nothing was changed.",
}


def _media(media_type: str) -> type[Response]:
    """The class by which FastAPI documents an answer; only that of JSON has a schema of ours."""
    return JSONResponse if media_type == JSON else type("Documented", (Response,), {"media_type": media_type})


def _extra(operation: Operation) -> dict[str, Any] | None:
    if operation.takes_bytes:
        content = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
        return {"requestBody": {"required": True, "content": content}}
    if operation.example is None:
        return None
    return {"requestBody": {"content": {JSON: {"example": operation.example}}}}


def _signature(operation: Operation) -> inspect.Signature:
    """What FastAPI reads parameters from."""
    parameters = [_parameter(name, _path_type(name), ...) for name in re.findall(r"{(\w+)}", operation.path)]
    parameters += [_parameter(each.name, _annotated(each, Query), each.default) for each in operation.query]
    parameters += [
        _parameter(each.name.lower().replace("-", "_"), _annotated(each, Header), each.default) for each in operation.headers
    ]
    if operation.body is not None:
        required = any(each.is_required() for each in operation.body.model_fields.values())
        parameters.append(_parameter("body", operation.body if required else operation.body | None, ... if required else None))
    return inspect.Signature(parameters)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=empty if default is ... else default, annotation=annotation
    )


def _path_type(name: str) -> Any:
    if name in ("id", "index"):
        return Annotated[int, Path(ge=0, le=10**12, description="Its number.")]
    return Annotated[str, Path(max_length=63, description="Its name.", examples=["web1"])]


def _annotated(parameter: Parameter, where: Any) -> Any:
    limits: dict[str, Any] = {"description": parameter.about}
    if parameter.example is not None:
        limits["examples"] = [parameter.example]
    if where is Header:
        limits["alias"] = parameter.name
    if parameter.kind is str:
        limits["max_length"] = parameter.longest
    elif parameter.kind is not bool:
        limits |= {"ge": parameter.least, "le": parameter.most}
    return Annotated[parameter.kind, where(**limits)]


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(document), status, headers, JSON)


__all__ = ["Body", "Problem"]
