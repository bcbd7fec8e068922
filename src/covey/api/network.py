"""Networks."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import NetworkDocument
from covey.model.requests.network import AddNetwork, RemoveNetwork
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
        "DELETE",
        "/v1/networks/{name}",
        "remove_network",
        "Remove a network",
        RemoveNetwork,
        {"name": "network"},
        target="network",
    ),
)
