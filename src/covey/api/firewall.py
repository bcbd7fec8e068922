"""Firewalls."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import FirewallDocument
from covey.model.requests.firewall import AddFirewall, ModifyFirewall, RemoveFirewall
from covey.service.listing import FIREWALL

ONE = "/v1/firewalls/{name}"
OPERATIONS = (
    listed(FIREWALL, "/v1/firewalls", "list_firewalls", "All firewalls", FirewallDocument, "firewall.read"),
    change(
        "POST",
        "/v1/firewalls",
        "add_firewall",
        "Make a firewall",
        AddFirewall,
        example={"name": "web", "rules": [{"direction": "in", "protocol": "tcp", "ports": "80,443"}]},
    ),
    shown(FIREWALL, ONE, "show_firewall", "One firewall", FirewallDocument, "firewall.read"),
    change(
        "PATCH",
        ONE,
        "modify_firewall",
        "Change a firewall's rules or notes",
        ModifyFirewall,
        {"name": "firewall"},
        target="firewall",
        example={"rules": [{"direction": "in", "protocol": "icmp"}]},
    ),
    change("DELETE", ONE, "remove_firewall", "Remove a firewall", RemoveFirewall, {"name": "firewall"}, target="firewall"),
)
