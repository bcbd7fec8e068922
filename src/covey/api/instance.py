"""Instances."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import create_model
from starlette.responses import Response

from covey.api.bodies import StrictModel, body_of, parse
from covey.api.changes import change, listed, shown
from covey.api.documents import InstanceDocument, PlansDocument, RemovedDocument
from covey.api.operation import PURGE, Call, Operation, json_response
from covey.api.problems import problem_document
from covey.base.errors import CoveyError
from covey.model.requests.clone import CloneInstance
from covey.model.requests.instance import (
    AddInstance,
    MigrateInstance,
    ModifyInstance,
    RebootInstance,
    ReinstallInstance,
    RemoveInstance,
    RenameInstance,
    ResetInstance,
    RestoreInstance,
    StartInstance,
    StopInstance,
)
from covey.model.requests.move import MoveInstance
from covey.service import jobs
from covey.service.listing import INSTANCE, REMOVED

MOST_PLANNED = 1000
_ADD = body_of(AddInstance)
_Several: Any = Annotated[list[_ADD.model], pydantic.Field(max_length=MOST_PLANNED)]  # type: ignore[name-defined]
PlansBody = create_model(
    "PlansBody", __base__=StrictModel, __doc__="Instances to be made in this order.", instances=(_Several, ...)
)
HERE = {"name": "instance"}
ONE = "/v1/instances/{name}"


async def plan_together(call: Call) -> Response:
    body: Any = parse(PlansBody, await call.body())
    wanted = [AddInstance(**_ADD.given(each)) for each in body.instances]
    outcomes = await call.submissions.preview_in_order(call.principal, wanted)
    view = call.inside.view
    plans = [
        {"plan": None, "problem": problem_document(outcome)}
        if isinstance(outcome, CoveyError)
        else {"plan": jobs.plan_document(view, outcome), "problem": None}
        for outcome in outcomes
    ]
    return json_response({"plans": plans})


OPERATIONS = (
    listed(INSTANCE, "/v1/instances", "list_instances", "All instances", InstanceDocument, "instance.read"),
    change(
        "POST",
        "/v1/instances",
        "add_instance",
        "Make an instance",
        AddInstance,
        example={"name": "web1", "image": "debian-12", "memory": 2147483648, "disks": [{"size": 21474836480}], "tags": ["web"]},
    ),
    Operation(
        "POST",
        "/v1/plans",
        "plan_instances",
        "What making these instances would do, each behind those before it; nothing changes",
        "instance.add",
        plan_together,
        {200: PlansDocument},
        body=PlansBody,
        errors=(409, 413),
        example={"instances": [{"name": "web1", "image": "debian-12"}, {"name": "web2", "image": "debian-12"}]},
    ),
    shown(INSTANCE, ONE, "show_instance", "One instance", InstanceDocument, "instance.read"),
    change(
        "PATCH",
        ONE,
        "modify_instance",
        "Change what it is",
        ModifyInstance,
        HERE,
        target="instance",
        example={"tags": ["web", "shop"]},
    ),
    change(
        "POST",
        f"{ONE}/rename",
        "rename_instance",
        "Give it another name",
        RenameInstance,
        HERE,
        target="instance",
        example={"new_name": "web2"},
    ),
    change(
        "POST",
        f"{ONE}/reinstall",
        "reinstall_instance",
        "Make its first disk anew from an image",
        ReinstallInstance,
        HERE,
        target="instance",
        example={"image": "debian-12"},
    ),
    change(
        "DELETE",
        ONE,
        "remove_instance",
        "Remove it; its disks are kept for a while",
        RemoveInstance,
        HERE,
        target="instance",
        also=(PURGE,),
    ),
    listed(REMOVED, "/v1/removed", "list_removed", "What was removed and may come back", RemovedDocument, "instance.read"),
    change(
        "POST",
        f"{ONE}/restore",
        "restore_instance",
        "Bring back one that was removed",
        RestoreInstance,
        HERE,
        example={"name": "web1-again"},
    ),
    change(
        "POST",
        f"{ONE}/move",
        "move_instance",
        "Give it to another node, while it is stopped",
        MoveInstance,
        HERE,
        target="instance",
        example={"to": "n2"},
    ),
    change("POST", f"{ONE}/start", "start_instance", "Start it", StartInstance, HERE, target="instance"),
    change("POST", f"{ONE}/stop", "stop_instance", "Shut it down", StopInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reboot", "reboot_instance", "Stop it, then start it", RebootInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reset", "reset_instance", "Cut it and start it at once", ResetInstance, HERE, target="instance"),
    change(
        "POST",
        f"{ONE}/migrate",
        "migrate_instance",
        "Move it to another node while it runs",
        MigrateInstance,
        HERE,
        target="instance",
        example={"to": "n2", "bandwidth": 500000000},
    ),
    change(
        "POST",
        f"{ONE}/clone",
        "clone_instance",
        "Make an instance with the same disks",
        CloneInstance,
        HERE,
        target="instance",
        example={"name": "web2", "start": True},
    ),
)
