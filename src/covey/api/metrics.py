"""Metrics, for Prometheus."""

from __future__ import annotations

from starlette.responses import Response

from covey.api.operation import Call, Operation
from covey.service import metrics


async def show(call: Call) -> Response:
    return Response(metrics.exposition(call.inside), 200, None, metrics.MEDIA_TYPE)


OPERATIONS = (
    Operation(
        "GET",
        "/metrics",
        "show_metrics",
        "Measures for Prometheus, in its text format",
        "metrics.read",
        show,
        {200: None},
        media_type=metrics.MEDIA_TYPE,
    ),
)
