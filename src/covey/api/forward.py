"""Forwards."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import ForwardDocument
from covey.model.requests.forward import AddForward, RemoveForward
from covey.service.listing import FORWARD

OPERATIONS = (
    listed(FORWARD, "/v1/forwards", "list_forwards", "All forwards", ForwardDocument, "forward.read"),
    change(
        "POST",
        "/v1/forwards",
        "add_forward",
        "Lead a port of the nodes to an instance",
        AddForward,
        example={"port": "tcp/8080", "instance": "web1", "to_port": 80},
    ),
    shown(FORWARD, "/v1/forwards/{name}", "show_forward", "One forward", ForwardDocument, "forward.read"),
    change(
        "DELETE",
        "/v1/forwards/{name}",
        "remove_forward",
        "Lead its port nowhere",
        RemoveForward,
        {"name": "forward"},
        target="forward",
    ),
)
