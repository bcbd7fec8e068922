"""Nodes."""

from __future__ import annotations

from covey.api.changes import Values, change, listed, shown
from covey.api.documents import InvitationDocument, JoinedDocument, NodeDocument
from covey.api.operation import Call
from covey.base.certificates import check_signing_request
from covey.base.errors import Bug
from covey.model import codec
from covey.model.request import Request
from covey.model.requests.drain import DrainNode, EvacuateNode, UndrainNode
from covey.model.requests.move import ClearNode
from covey.model.requests.node import EquipNode, InviteNode, JoinNode, ModifyNode, PingNode, RemoveNode
from covey.model.token import INVITED
from covey.service.joining import membership_of, needed
from covey.service.listing import NODE

HERE = {"name": "node"}


def _inviting(call: Call, values: Values) -> Values:
    needed(call.inside.authority, call.inside.view)
    return values


def _invitation(call: Call, wanted: Request) -> Values:
    authority = needed(call.inside.authority, call.inside.view)
    return {"doors": list(authority.doors), "fingerprint": authority.fingerprint}


def _joining(call: Call, values: Values) -> Values:
    needed(call.inside.authority, call.inside.view)
    check_signing_request(values["signing_request"])
    return {**values, "invitation": call.principal.name if call.principal.role == INVITED else ""}


def _joined(call: Call, wanted: Request) -> Values:
    if not isinstance(wanted, JoinNode):
        raise Bug("a certificate is for a machine that joins", wanted.kind)
    authority = needed(call.inside.authority, call.inside.view)
    return {
        "certificate": authority.issue(wanted.signing_request, wanted.id),
        "authority": authority.certificate,
        "membership": codec.encode(membership_of(call.inside.view, wanted, authority)),
    }


OPERATIONS = (
    listed(NODE, "/v1/nodes", "list_nodes", "All nodes, with live capacity", NodeDocument, "node.read"),
    change(
        "POST",
        "/v1/nodes",
        "join_node",
        "Become a node of the cluster, with an invitation's secret as token",
        JoinNode,
        complete=_joining,
        more=_joined,
        answer=JoinedDocument,
        example={
            "id": "1a2b3c4d-0000-4000-8000-000000000002",
            "name": "n2",
            "address": "10.0.0.2:7444",
            "signing_request": "-----BEGIN CERTIFICATE REQUEST-----",
        },
    ),
    change(
        "POST",
        "/v1/node-invitations",
        "invite_node",
        "Let one machine join; the secret is in this answer only",
        InviteNode,
        complete=_inviting,
        more=_invitation,
        answer=InvitationDocument,
        example={"expires_s": 3600.0},
    ),
    shown(NODE, "/v1/nodes/{name}", "show_node", "One node", NodeDocument, "node.read"),
    change(
        "PATCH",
        "/v1/nodes/{name}",
        "modify_node",
        "Change its name, where it is reached, or notes",
        ModifyNode,
        HERE,
        target="node",
        example={"storage_address": "10.1.0.2", "notes": "rack 2"},
    ),
    change("POST", "/v1/nodes/{name}/ping", "ping_node", "See that its agent carries out steps", PingNode, HERE),
    change("POST", "/v1/nodes/{name}/equip", "equip_node", "Give it what the cluster's nodes have", EquipNode, HERE),
    change("POST", "/v1/nodes/{name}/drain", "drain_node", "Nothing new there, and what runs goes to others", DrainNode, HERE),
    change("POST", "/v1/nodes/{name}/evacuate", "evacuate_node", "The same, and what is stopped goes, too", EvacuateNode, HERE),
    change("POST", "/v1/nodes/{name}/undrain", "undrain_node", "Let it host again", UndrainNode, HERE),
    change("POST", "/v1/nodes/{name}/clear", "clear_node", "Remove what moved instances left there", ClearNode, HERE),
    change("DELETE", "/v1/nodes/{name}", "remove_node", "Take it out of the cluster", RemoveNode, HERE, target="node"),
)
