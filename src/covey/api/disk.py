"""Disks of instances."""

from __future__ import annotations

from starlette.responses import Response

from covey.agent.handing_out import opened
from covey.api.changes import change, options_of, taken_response
from covey.api.documents import InstanceDiskDocument, JobDocument, PlanDocument
from covey.api.operation import (
    AFTER_JOBS,
    BYTES,
    DRY_RUN,
    IF_MATCH,
    KEY,
    PURGE,
    REASON,
    Call,
    Operation,
    Parameter,
    json_response,
)
from covey.api.parts import parts_listed
from covey.api.problems import problem_response
from covey.base.errors import CoveyError
from covey.model.requests.disk import AddDisk, FlattenDisk, GrowDisk, ImportDisk, RemoveDisk, RestoreDisk
from covey.service import jobs, transfer
from covey.service.parts import DISK

POOL = Parameter("pool", str, "Where it is kept.", "", longest=63, example="default")
FORMAT = Parameter("format", str, "How it is kept: qcow2 or raw; else as is usual in the pool.", "", longest=10)
SOURCE_FORMAT = Parameter(
    "source_format", str, "What the image must be: raw, qcow2, vmdk, vdi or vhdx; else what it looks like.", "", longest=10
)
SHA256 = Parameter("sha256", str, "What it must add up to.", "", longest=64)
LENGTH = Parameter("length", int, "With dry_run, how many bytes would be sent.", 0)
AS = Parameter("format", str, "qcow2 or raw.", "qcow2", longest=10)
SNAPSHOT = Parameter("snapshot", str, "As it was in this snapshot.", "", longest=63)


async def show_content(call: Call) -> Response:
    query = call.query
    return await opened(
        transfer.exported(
            call.inside, call.principal, call.path["name"], call.number("index"), query["snapshot"], query["format"]
        )
    )


async def bring_in(call: Call) -> Response:
    """What is refused is refused before all of it was read: the connection is of no more use then."""
    query = call.query
    wish = ImportDisk(instance=call.path["name"], pool=query["pool"], format=query["format"])
    announced = call.header("content-length")[:16]
    length = int(announced) if announced.isdecimal() and not query["dry_run"] else query["length"]
    image = transfer.Image(query["source_format"], query["sha256"].lower(), length)
    options = options_of(call, "instance")
    if query["dry_run"]:
        plan = transfer.preview(call.submissions, call.principal, wish, options, image)
        return json_response(jobs.plan_document(call.inside.view, plan))
    try:
        taken = await transfer.brought_in(
            call.inside, call.submissions, call.principal, wish, options, image, call.request.stream()
        )
    except CoveyError as error:
        return problem_response(error, headers={"connection": "close"})
    return await taken_response(call, taken)


DISKS = "/v1/instances/{name}/disks"
OPERATIONS = (
    parts_listed(DISK, "/v1/disks", "list_disks", "All disks of all instances", InstanceDiskDocument),
    change(
        "POST",
        DISKS,
        "add_disk",
        "Add an empty disk",
        AddDisk,
        {"name": "instance"},
        target="instance",
        example={"size": 107374182400},
    ),
    Operation(
        "POST",
        f"{DISKS}/import",
        "import_disk",
        "Make a disk of an image that is sent",
        ImportDisk.kind,
        bring_in,
        {202: JobDocument, 200: PlanDocument},
        (POOL, FORMAT, SOURCE_FORMAT, SHA256, LENGTH, DRY_RUN, REASON, AFTER_JOBS),
        (KEY, IF_MATCH),
        errors=(404, 409, 412),
        takes_bytes=True,
    ),
    Operation(
        "GET",
        f"{DISKS}/{{index}}/content",
        "export_disk",
        "All that a disk holds",
        "disk.export",
        show_content,
        {200: None},
        (AS, SNAPSHOT),
        errors=(404, 409),
        media_type=BYTES,
        asks_nodes=True,
    ),
    change(
        "POST",
        f"{DISKS}/{{index}}/grow",
        "grow_disk",
        "Grow a disk to a size",
        GrowDisk,
        {"name": "instance", "index": "disk"},
        target="instance",
        example={"size": 42949672960},
    ),
    change(
        "POST",
        f"{DISKS}/{{index}}/flatten",
        "flatten_disk",
        "Make a disk independent of its image and its layers",
        FlattenDisk,
        {"name": "instance", "index": "disk"},
        target="instance",
    ),
    change(
        "DELETE",
        f"{DISKS}/{{index}}",
        "remove_disk",
        "Take a disk out; its volume is kept for a while",
        RemoveDisk,
        {"name": "instance", "index": "disk"},
        target="instance",
        also=(PURGE,),
    ),
    change(
        "POST",
        f"{DISKS}/{{index}}/restore",
        "restore_disk",
        "Bring back a disk that was removed",
        RestoreDisk,
        {"name": "instance", "index": "disk"},
        example={"to": "web2"},
    ),
)
