"""Disks of instances."""

from __future__ import annotations

from covey.api.changes import change
from covey.api.operation import PURGE
from covey.model.requests.disk import AddDisk, FlattenDisk, GrowDisk, RemoveDisk, RestoreDisk

DISKS = "/v1/instances/{name}/disks"
OPERATIONS = (
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
