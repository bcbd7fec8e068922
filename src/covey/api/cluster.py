"""The cluster: what it is, how it is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pydantic
from starlette.responses import Response

from covey.api.bodies import StrictModel, Text, parse
from covey.api.changes import Values, change, is_good_still
from covey.api.documents import ClusterDocument, ExportDocument
from covey.api.health_documents import FixDocument, StatusDocument, VerdictDocument
from covey.api.operation import AT_LEAST, IF_NONE_MATCH, JSON, Call, Operation, json_response
from covey.model.requests.cluster import InitCluster, ModifyCluster
from covey.service import documents, health, jobs
from covey.service import export as exports
from covey.service.access import ALLOWED
from covey.service.listing import dumps

COLLECTIONS = ("cluster", "node", "instance")


class FixBody(StrictModel):
    """The ids of findings of `cluster verify`."""

    findings: Annotated[list[Text], pydantic.Field(max_length=10_000)]


async def show(call: Call) -> Response:
    view = await call.inside.view_at(call.query["at_least"])
    document = documents.cluster(view, view.cluster)
    revision = view.revision_of("cluster", "cluster")
    etag = f'"{revision}-{call.inside.tally.etag(view, COLLECTIONS, live=False)[1:]}'
    if is_good_still(call, etag):
        return Response(status_code=304, headers={"etag": etag})
    return Response(dumps(document), 200, {"etag": etag}, JSON)


def _with_present_defaults(call: Call, values: Values) -> Values:
    """Defaults that are not named stay as they are."""
    given: dict[str, Any] | None = values.get("defaults")
    if given is None:
        return values
    return {**values, "defaults": replace(call.inside.view.cluster.defaults, **given)}


async def export(call: Call) -> Response:
    view = await call.inside.view_at(call.query["at_least"])
    return json_response(exports.export(view, ALLOWED.get(call.principal.role, frozenset())))


async def status(call: Call) -> Response:
    return json_response(health.status(call.inside))


async def verify(call: Call) -> Response:
    await call.body()
    verdict, seconds = await health.verify_now(call.inside)
    return json_response(health.verdict_document(verdict, seconds))


async def fix(call: Call) -> Response:
    body = parse(FixBody, await call.body())
    wanted = frozenset(body.findings)  # type: ignore[attr-defined]
    ids, left = await health.fix(call.inside, call.submissions, call.principal, wanted)
    document = {
        "jobs": [await jobs.single(call.inside, id) for id in ids],
        "left": [health.finding_document(finding) for finding in left],
    }
    return json_response(document, 202)


OPERATIONS = (
    Operation(
        "GET",
        "/v1/cluster",
        "show_cluster",
        "The cluster and its defaults",
        "cluster.read",
        show,
        {200: ClusterDocument, 304: None},
        (AT_LEAST,),
        (IF_NONE_MATCH,),
        errors=(409,),
    ),
    Operation(
        "GET",
        "/v1/cluster/export",
        "export_cluster",
        "All that is wanted of the cluster, in an order of its own, without secrets",
        "cluster.read",
        export,
        {200: ExportDocument},
        (AT_LEAST,),
        errors=(409,),
    ),
    change("POST", "/v1/cluster", "init_cluster", "Make a cluster of this one machine", InitCluster, example={"name": "school"}),
    change(
        "PATCH",
        "/v1/cluster",
        "modify_cluster",
        "Change name, notes or defaults",
        ModifyCluster,
        target="cluster",
        complete=_with_present_defaults,
        partial=("defaults",),
        example={"defaults": {"memory": 2147483648}},
    ),
    Operation(
        "GET", "/v1/status", "show_status", "Is all well, and if not, what to do", "cluster.read", status, {200: StatusDocument}
    ),
    Operation(
        "POST",
        "/v1/cluster/verify",
        "verify_cluster",
        "Compare what every node has with the records",
        "cluster.verify",
        verify,
        {200: VerdictDocument},
        errors=(409, 413),
    ),
    Operation(
        "POST",
        "/v1/cluster/fix",
        "fix_cluster",
        "Mend findings of a verification, one job for each repair",
        "cluster.fix",
        fix,
        {202: FixDocument},
        body=FixBody,
        errors=(409, 413),
        example={"findings": ["missing-domain:6a1f0c0e-6c2b-4c86-9a51-6f1f4b1d2a70"]},
    ),
)
