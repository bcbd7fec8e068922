"""Instances."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import InstanceDocument, RemovedDocument
from covey.api.operation import PURGE
from covey.model.requests.clone import CloneInstance
from covey.model.requests.instance import (
    AddInstance,
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
from covey.service.listing import INSTANCE, REMOVED

HERE = {"name": "instance"}
ONE = "/v1/instances/{name}"
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
    change("POST", f"{ONE}/start", "start_instance", "Start it", StartInstance, HERE, target="instance"),
    change("POST", f"{ONE}/stop", "stop_instance", "Shut it down", StopInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reboot", "reboot_instance", "Stop it, then start it", RebootInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reset", "reset_instance", "Cut it and start it at once", ResetInstance, HERE, target="instance"),
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
