"""Networks."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import NetworkDocument
from covey.model.requests.network import AddNetwork, ModifyNetwork, RemoveNetwork
from covey.service.listing import NETWORK

OPERATIONS = (
    listed(NETWORK, "/v1/networks", "list_networks", "All networks", NetworkDocument, "network.read"),
    change(
        "POST",
        "/v1/networks",
        "add_network",
        "Make a bridge with a subnet on every node",
        AddNetwork,
        example={"name": "lan", "subnet": "10.77.0.0/24"},
    ),
    shown(NETWORK, "/v1/networks/{name}", "show_network", "One network", NetworkDocument, "network.read"),
    change(
        "PATCH",
        "/v1/networks/{name}",
        "modify_network",
        "Change name servers, pools, reservations, ports of the node, links of nodes, or notes",
        ModifyNetwork,
        {"name": "network"},
        target="network",
        example={"reserve": ["10.77.0.5"], "dns": ["10.77.0.2"]},
    ),
    change(
        "DELETE",
        "/v1/networks/{name}",
        "remove_network",
        "Remove a network",
        RemoveNetwork,
        {"name": "network"},
        target="network",
    ),
)
