"""Errors as application/problem+json (RFC 9457), the only shape that errors have."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from covey.base.errors import KINDS, BadInput, CoveyError, Denied
from covey.base.log import belongs_to
from covey.service import documents
from covey.service.listing import dumps
from covey.service.submit import Changed

MEDIA_TYPE = "application/problem+json"


class TooLarge(BadInput):
    """The body is beyond the limit."""

    status = 413


class Unauthenticated(Denied):
    """Nobody is known to ask."""

    status = 401


def problem_response(error: CoveyError, status: int = 0, headers: dict[str, str] | None = None) -> Response:
    status = status or (412 if isinstance(error, Changed) else error.status)
    document = problem_document(error, status)
    challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
    return Response(dumps(document), status, {**challenge, **(headers or {})}, MEDIA_TYPE)


def problem_document(error: CoveyError, status: int = 0) -> dict[str, Any]:
    """The title is the kind that base.errors knows, also of narrower kinds."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in KINDS)
    return {**documents.problem({**error.to_json(), "kind": kind}, status or error.status), "request_id": belongs_to()}
