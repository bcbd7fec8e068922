"""NICs of instances."""

from __future__ import annotations

from covey.api.changes import change
from covey.api.documents import InstanceNicDocument
from covey.api.parts import parts_listed
from covey.model.requests.nic import AddNic, ModifyNic, RemoveNic
from covey.service.parts import NIC

NICS = "/v1/instances/{name}/nics"
OPERATIONS = (
    parts_listed(NIC, "/v1/nics", "list_nics", "All NICs of all instances", InstanceNicDocument),
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
