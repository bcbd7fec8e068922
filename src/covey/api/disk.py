"""Disks of instances."""

from __future__ import annotations

from covey.api.changes import change
from covey.model.requests.disk import AddDisk, GrowDisk, RemoveDisk

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
        "DELETE",
        f"{DISKS}/{{index}}",
        "remove_disk",
        "Take a disk out and remove its volume",
        RemoveDisk,
        {"name": "instance", "index": "disk"},
        target="instance",
    ),
)
