"""NICs of instances."""

from __future__ import annotations

from covey.api.changes import change
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic

NICS = "/v1/instances/{name}/nics"
OPERATIONS = (
    change(
        "POST",
        NICS,
        "add_nic",
        "Add a NIC",
        AddNic,
        {"name": "instance"},
        target="instance",
        example={"network": "lan"},
    ),
    change(
        "PATCH",
        f"{NICS}/{{index}}",
        "modify_nic",
        "Change a NIC",
        ModifyNic,
        {"name": "instance", "index": "nic"},
        target="instance",
        example={"up": False},
    ),
    change(
        "DELETE",
        f"{NICS}/{{index}}",
        "remove_nic",
        "Take a NIC out",
        RemoveNic,
        {"name": "instance", "index": "nic"},
        target="instance",
    ),
)
