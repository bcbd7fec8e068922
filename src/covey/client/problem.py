"""Errors as they come over the wire, and what they become here."""

from __future__ import annotations

import json

from covey.base.errors import KINDS, BadInput, Bug, CoveyError, Denied, NotFound, Refused, StepFailed, Unavailable

_BY_STATUS: dict[int, type[CoveyError]] = {400: BadInput, 401: Denied, 403: Denied, 404: NotFound, 409: Refused, 413: BadInput}


def error_of(status: int, body: bytes) -> CoveyError:
    """The error that an answer with this status carries. An answer that is not ours (a proxy's, say) is told by its status."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        kind = _BY_STATUS.get(status, Unavailable if status >= 500 else Refused)
        return kind(f"the server answered {status} and did not say why", "", "is this Covey's address? see its log")
    return error_from(problem, _BY_STATUS.get(status, StepFailed))


def error_from(problem: dict[str, object], otherwise: type[CoveyError] = StepFailed) -> CoveyError:
    """The error that a problem document tells; a kind of a newer release becomes `otherwise`."""
    kind = KINDS.get(str(problem.get("title")), otherwise)
    hint = str(problem.get("hint") or "")
    if kind is Bug and problem.get("request_id"):
        hint = f"{hint} (request {problem['request_id']})".strip()  # by which it is found there
    return kind(str(problem.get("detail") or "unknown error"), str(problem.get("object") or ""), hint)
