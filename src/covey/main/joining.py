"""`covey node join` and `covey node leave`: work on this very machine, whose agent keeps the key and the certificate."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from covey.base.config import parse_address
from covey.base.errors import BadInput, Denied, NotFound, Refused, Unavailable, check, from_json, require
from covey.main.here import ANSWER_LIMIT_S, agent_here, checked
from covey.main.layout import Layout, choose
from covey.model import codec
from covey.model.membership import Membership

AGENT_PORT = 7444
CONNECT_LIMIT_S = 10.0
LED_WITHIN_S = 30.0
_DER = 2  # _ssl.ENCODING_DER


@dataclass(frozen=True, slots=True)
class Invitation:
    """What `covey node invite` prints: DOOR/FINGERPRINT/SECRET."""

    door: str
    fingerprint: str
    secret: str


def parse_invitation(line: str) -> Invitation:
    """Raises BadInput."""
    door, _, rest = line.strip().partition("/")
    fingerprint, _, secret = rest.partition("/")
    check(
        door and len(fingerprint) == 64 and secret.isalnum(),
        BadInput("this is no invitation", "token", "give the whole line that covey node invite printed on a node of the cluster"),
    )
    parse_address(door)
    return Invitation(door, fingerprint, secret)


def look(settings: str, state: str | None, line: str, name: str, address: str) -> str:
    """What joining would do, in words; nothing is changed. Raises what `join` raises before it asks the cluster."""
    invitation = parse_invitation(line)
    layout = _layout(settings, state)
    with agent_here(layout) as agent:
        _, here = _check_can_join(agent, layout, invitation)
    return f"this machine would become node {name or _own_name()} of the cluster at {invitation.door}, and listen at {_with_port(address or here)}"


def join(settings: str, state: str | None, line: str, name: str, address: str, storage_address: str = "") -> Membership:
    """Make this machine a node of the cluster that the invitation names. `name` and `address` may be "": the host's name, and the address
    by which it reaches the cluster; `storage_address` is its own on a second network, "" for none. Raises Refused for a machine that has a cluster already, Denied for a cluster that is not the one of the
    invitation, Unavailable, and what the cluster refuses."""
    invitation = parse_invitation(line)
    layout = _layout(settings, state)
    with agent_here(layout) as agent:
        authority, here = _check_can_join(agent, layout, invitation)
        asked = checked(agent.post("/membership/request"))
        wish = {
            "id": asked["node"],
            "name": name or _own_name(),
            "address": _with_port(address or here),
            "signing_request": asked["request"],
            **({"storage_address": storage_address} if storage_address else {}),
        }
        joined = _ask_cluster(invitation, authority, wish)
        given = {key: joined[key] for key in ("membership", "certificate", "authority")}
        checked(agent.put("/membership", json={**given, "is_new": True}))
        membership = codec.decode(Membership, joined["membership"])
        _await_leader(agent, membership)
    return membership


def present_membership(settings: str, state: str | None) -> Membership:
    """Raises NotFound when this machine belongs to no cluster but its own."""
    with agent_here(_layout(settings, state)) as agent:
        return require(_present(agent), NotFound("this machine belongs to no cluster but its own", "covey node leave"))


def leave(settings: str, state: str | None) -> None:
    """This machine forgets to which cluster it belonged."""
    with agent_here(_layout(settings, state)) as agent:
        checked(agent.delete("/membership"))


def _layout(settings: str, state: str | None) -> Layout:
    check(os.geteuid() == 0, Refused("a machine is root's to give to a cluster, or to take from one", "covey node", "use sudo"))
    return choose(settings, state=state).layout


def _own_name() -> str:
    return socket.gethostname().partition(".")[0].lower()


def _check_can_join(agent: httpx2.Client, layout: Layout, invitation: Invitation) -> tuple[str, str]:
    """The cluster's authority, and this machine's address on the way there."""
    present = _present(agent)
    check(
        present is None,
        Refused(f"this machine is {present} already", "covey node join", "leave that first: covey node leave"),
    )
    _check_no_cluster(layout)
    return _find_authority(invitation)


def _present(agent: httpx2.Client) -> Membership | None:
    found = checked(agent.get("/membership"))["membership"]
    return codec.decode(Membership, found) if found else None


def _check_no_cluster(layout: Layout) -> None:
    """A machine joins empty. Raises Refused when its own controller has a cluster."""
    transport = httpx2.HTTPTransport(uds=str(layout.api_socket))
    with httpx2.Client(transport=transport, base_url="http://covey", timeout=ANSWER_LIMIT_S) as client:
        try:
            answer = client.get("/v1/cluster")
        except (httpx2.HTTPError, OSError):
            return  # no controller runs here: the machine is only a node
    check(
        answer.status_code != 200,
        Refused(
            f"this machine has a cluster of its own: {answer.json().get('name')}" if answer.status_code == 200 else "",
            "covey node join",
            "a machine joins empty: export its instances, then begin anew with an empty state directory",
        ),
    )


def _find_authority(invitation: Invitation) -> tuple[str, str]:
    """The authority's certificate (PEM), as the cluster shows it, if it is the one of the invitation; and the address by which this machine
    reaches the cluster. Raises Denied, Unavailable."""
    host, port = parse_address(invitation.door)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE  # nothing is sent: the chain is looked at, and compared with the fingerprint
    try:
        with socket.create_connection((host, port), CONNECT_LIMIT_S) as plain, blind.wrap_socket(plain) as line:
            chain, here = _chain_of(line), line.getsockname()
    except OSError as error:
        raise Unavailable(
            f"the cluster does not answer: {error}", invitation.door, "is that address right, and open to this machine?"
        ) from error
    found = [der for der in chain if hashlib.sha256(der).hexdigest() == invitation.fingerprint]
    check(
        found,
        Denied("who answers there is not the cluster of the invitation", invitation.door, "ask for a new one: covey node invite"),
    )
    return ssl.DER_cert_to_PEM_cert(found[0]), str(here[0])


def _chain_of(line: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the other side sent (DER). Public since Python 3.13."""
    inner: Any = line
    if hasattr(inner, "get_unverified_chain"):
        return list(inner.get_unverified_chain())
    return [one.public_bytes(_DER) for one in inner._sslobj.get_unverified_chain()]


def _ask_cluster(invitation: Invitation, authority: str, wish: dict[str, str]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(authority)
        file.flush()
        context = ssl.create_default_context(cafile=file.name)
    headers = {"Authorization": f"Bearer {invitation.secret}"}
    try:
        with httpx2.Client(verify=context, timeout=ANSWER_LIMIT_S, trust_env=False) as client:
            answer = client.post(f"https://{invitation.door}/v1/nodes", json=wish, headers=headers)
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(f"the cluster does not answer: {error}", invitation.door, "try again") from error
    if answer.status_code == 202:
        return dict(answer.json())
    problem = answer.json()
    raise from_json({"kind": problem["title"], "what": problem["detail"], "object": problem["object"], "hint": problem["hint"]})


def _await_leader(agent: httpx2.Client, membership: Membership) -> None:
    """Raises Unavailable when no leader comes: most likely one cannot reach this machine."""
    deadline = time.monotonic() + LED_WITHIN_S
    while time.monotonic() < deadline:
        if checked(agent.get("/membership"))["is_led"]:
            return
        time.sleep(0.1)
    raise Unavailable(
        f"this machine has joined, but the leader has not come to {membership.address} within {LED_WITHIN_S:g} s",
        f"node {membership.name}",
        f"is that address this machine's, and its port open to {', '.join(membership.doors)}? see: covey node list, there",
    )


def _with_port(address: str) -> str:
    """HOST:PORT, with the agents' usual port where none is given."""
    if address.startswith("["):
        return address if "]:" in address else f"{address}:{AGENT_PORT}"
    if address.count(":") > 1:
        return f"[{address}]:{AGENT_PORT}"
    return address if ":" in address else f"{address}:{AGENT_PORT}"
