"""The cluster: what it is, how it is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pydantic
from starlette.responses import Response

from covey.api.bodies import StrictModel, Text, body_of, parse
from covey.api.changes import Values, change, is_good_still, options_of, taken_response
from covey.api.documents import BackupDocument, ClusterDocument, ExportDocument, JobDocument, PlanDocument
from covey.api.health_documents import FixDocument, RoomMadeDocument, StatusDocument, VerdictDocument
from covey.api.operation import (
    AFTER_JOBS,
    AT_LEAST,
    BYTES,
    DRY_RUN,
    EXPECT,
    IF_NONE_MATCH,
    JSON,
    KEY,
    REASON,
    Call,
    Operation,
    json_response,
)
from covey.base.errors import Refused, require
from covey.model.requests.cluster import InitCluster, ModifyCluster, ReconcileCluster
from covey.service import documents, health, jobs
from covey.service import export as exports
from covey.service import reconcile as reconciling
from covey.service.access import ALLOWED
from covey.service.listing import dumps

COLLECTIONS = ("cluster", "node", "instance", "backup")


RECONCILE = body_of(ReconcileCluster, ("found", "answered"))


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


async def backup(call: Call) -> Response:
    await call.body()
    made = await call.inside.backups.make()
    return json_response(documents.backup(call.inside.view, made))


async def backup_content(call: Call) -> Response:
    return Response(await call.inside.backups.content(), 200, media_type=BYTES)


async def compact(call: Call) -> Response:
    await call.body()
    advice = "make room on the disk of its state directory: Covey goes on by itself"
    room = require(call.inside.room, Refused("the records are in a file of one machine, which needs none of it", "store", advice))
    return json_response({"size": await room.make(), "full": bool(room.trouble)})


async def reconcile(call: Call) -> Response:
    wanted = await reconciling.completed(call.inside, ReconcileCluster(**RECONCILE.values(await call.body())))
    options = options_of(call, "")
    if call.query["dry_run"]:
        return json_response(jobs.plan_document(call.inside.view, call.submissions.preview(call.principal, wanted, options)))
    return await taken_response(call, await call.submissions.take(call.principal, wanted, options))


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
        "/v1/cluster/backup",
        "backup_cluster",
        "Make a backup of the records now, where the machine that leads keeps them",
        "cluster.backup",
        backup,
        {200: BackupDocument},
        errors=(409, 413),
    ),
    Operation(
        "GET",
        "/v1/cluster/backup",
        "fetch_backup",
        "A backup of the records of this moment, with every secret of the cluster",
        "cluster.backup",
        backup_content,
        {200: None},
        errors=(409,),
        media_type=BYTES,
        asks_nodes=True,
    ),
    Operation(
        "POST",
        "/v1/cluster/compact",
        "compact_store",
        "Have the store of several machines forget its past, and write again if it was full",
        "cluster.compact",
        compact,
        {200: RoomMadeDocument},
        errors=(409, 413),
        anywhere=True,
    ),
    Operation(
        "POST",
        "/v1/cluster/reconcile",
        "reconcile_cluster",
        "End what follows on a restore: the records were raised to what runs",
        "cluster.reconcile",
        reconcile,
        {202: JobDocument, 200: PlanDocument},
        (DRY_RUN, REASON, AFTER_JOBS, EXPECT),
        (KEY,),
        RECONCILE.model,
        errors=(404, 409, 413),
        example={"without": ["n2"], "because": "its disk is broken"},
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
