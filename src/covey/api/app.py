"""The app: all operations together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from covey import __version__
from covey.api import (
    cluster,
    console,
    disk,
    event,
    firewall,
    forward,
    guest,
    image,
    instance,
    job,
    metrics,
    network,
    nic,
    node,
    pool,
    snapshot,
    token,
)
from covey.api.console import add_console
from covey.api.documents import Problem
from covey.api.door import Door
from covey.api.news import add_news
from covey.api.operation import JSON, Call, Context, Operation, route_of
from covey.api.problems import problem_response
from covey.base.errors import BadInput, Bug, CoveyError, NotFound
from covey.service.inside import Inside
from covey.service.listing import dumps

NOUNS = {
    "cluster": cluster,
    "node": node,
    "image": image,
    "pool": pool,
    "network": network,
    "forward": forward,
    "instance": instance,
    "disk": disk,
    "nic": nic,
    "firewall": firewall,
    "snapshot": snapshot,
    "console": console,
    "guest": guest,
    "job": job,
    "event": event,
    "metrics": metrics,
    "token": token,
}
ABOUT = """Covey: a handful of ordinary Linux machines as one reliable virtual-server cluster.

Sizes are bytes, durations (`_s`) seconds, times (`_at`) RFC 3339 in UTC. Changes answer 202 with a job; `dry_run=true` shows the plan.
Any controller of a cluster may be asked; what it shows while it hears of no leader carries the header covey-stale-as-of, a time.
Errors are application/problem+json. Over the local socket root is admin; over TLS a bearer token is needed."""


def make_app(inside: Inside) -> FastAPI:
    app = FastAPI(title="Covey", version=__version__, description=ABOUT, openapi_url=None, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    context = Context(inside)
    for tag, noun in NOUNS.items():
        for operation in noun.OPERATIONS:
            app.router.add_api_route(**route_of(operation, context), tags=[tag])
    app.router.add_api_route(**route_of(_document_operation(app), context), tags=["cluster"])
    add_console(app, inside)
    add_news(app, inside)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(Exception, _mistake)
    app.add_middleware(Door, inside=inside)
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, openapi_version="3.1.0", description=app.description, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own shape of errors, which is not ours
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                content = operation["responses"].get("200", {}).get("content", {})
                content.get("text/event-stream", {}).pop("schema", None)  # OpenAPI 3.1 has no words for a stream of events
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _document_operation(app: FastAPI) -> Operation:
    async def show(call: Call) -> Response:
        return Response(dumps(openapi(app)), 200, None, JSON)

    return Operation("GET", "/v1/openapi.json", "show_openapi", "This document", "api.read", show, {200: None})


async def _not_routed(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405 in our shape."""
    status = getattr(error, "status_code", 500)
    where = f"{request.method} {request.url.path[:200]}"
    if status == 405:
        allowed = ", ".join(sorted(_methods(request)))
        problem: CoveyError = BadInput("this cannot be done there", where, f"there is: {allowed}")
        return problem_response(problem, 405, {"allow": allowed})
    if status == 404:
        return problem_response(NotFound("there is nothing at this address", where, "see: GET /v1/openapi.json"))
    return problem_response(BadInput(str(error), where), status)


def _methods(request: Request) -> set[str]:
    """What may be done at the address."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        match, _ = route.matches({**request.scope, "method": "GET", "type": "http"})
        if match != Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return methods


async def _mistake(request: Request, error: Exception) -> Response:
    """What went wrong outside of any operation; the server logs it."""
    return problem_response(
        Bug(f"{type(error).__name__}", f"{request.method} {request.url.path[:200]}", "this is a bug of Covey: see its log")
    )
