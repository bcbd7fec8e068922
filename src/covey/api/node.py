"""Nodes."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import NodeDocument
from covey.model.requests.node import ModifyNode, PingNode
from covey.service.listing import NODE

HERE = {"name": "node"}
OPERATIONS = (
    listed(NODE, "/v1/nodes", "list_nodes", "All nodes, with live capacity", NodeDocument, "node.read"),
    shown(NODE, "/v1/nodes/{name}", "show_node", "One node", NodeDocument, "node.read"),
    change(
        "PATCH", "/v1/nodes/{name}", "modify_node", "Change notes", ModifyNode, HERE, target="node", example={"notes": "rack 2"}
    ),
    change("POST", "/v1/nodes/{name}/ping", "ping_node", "See that its agent carries out steps", PingNode, HERE),
)
