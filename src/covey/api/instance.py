"""Instances."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import InstanceDocument
from covey.model.requests.instance import (
    AddInstance,
    ModifyInstance,
    RebootInstance,
    RemoveInstance,
    ResetInstance,
    StartInstance,
    StopInstance,
)
from covey.service.listing import INSTANCE

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
        "Change tags or notes",
        ModifyInstance,
        HERE,
        target="instance",
        example={"tags": ["web", "shop"]},
    ),
    change("DELETE", ONE, "remove_instance", "Remove it with all its disks", RemoveInstance, HERE, target="instance"),
    change("POST", f"{ONE}/start", "start_instance", "Start it", StartInstance, HERE, target="instance"),
    change("POST", f"{ONE}/stop", "stop_instance", "Shut it down", StopInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reboot", "reboot_instance", "Stop it, then start it", RebootInstance, HERE, target="instance"),
    change("POST", f"{ONE}/reset", "reset_instance", "Cut it and start it at once", ResetInstance, HERE, target="instance"),
)
