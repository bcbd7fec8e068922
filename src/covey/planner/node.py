"""Verbs of nodes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from covey.base.errors import Refused, Unavailable, check
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.network import Network
from covey.model.node import Node, split, with_host
from covey.model.plan import Plan, Uses, change, delete, nothing, put
from covey.model.pool import Pool
from covey.model.requests.node import (
    EquipNode,
    InviteNode,
    JoinNode,
    ModifyNode,
    PingNode,
    ReaddressNode,
    RemoveNode,
    has_port,
)
from covey.model.step import Step
from covey.model.steps.firewall import EnsureFirewall
from covey.model.steps.network import EnsureNetwork
from covey.model.steps.node import EnsureAccelerator, EnsureAnswer, EnsureListening
from covey.model.steps.pool import EnsurePool
from covey.model.token import INVITED, Token
from covey.model.view import ClusterView
from covey.placement.links import missing_link
from covey.planner.address import address_object, spelled
from covey.planner.drawing import draw_uuid
from covey.planner.everywhere import NODES
from covey.planner.network.laying import all_laid
from covey.planner.registry import plans
from covey.planner.wording import named

PROVE_TIMEOUT_S = 20.0  # what KVM gets to show that it runs a guest


@plans(PingNode)
def ping(view: ClusterView, request: PingNode) -> Plan:
    node = view.node(request.node)
    return Plan(f"ask the agent of {node.name} for an answer", (EnsureAnswer(node=node.id),), Uses(shared=(f"node/{node.id}",)))


@plans(ModifyNode)
def modify(view: ClusterView, request: ModifyNode) -> Plan:
    """Raises Refused for a name or an address that is another node's, and for an address of one that listens nowhere yet."""
    node = view.node(request.node)
    after = replace(
        node,
        name=node.name if request.name is None else request.name,
        address=node.address if request.address is None else _address(node, request.address),
        storage_address=node.storage_address
        if request.storage_address is None
        else request.storage_address and spelled(request.storage_address),
        notes=node.notes if request.notes is None else request.notes,
    )
    fields = [name for name in ("name", "address", "storage_address", "notes") if getattr(after, name) != getattr(node, name)]
    if not fields:
        return nothing(f"{node} is so already")
    _check_nobody_elses(view, after)
    opened = [door for door in after.doors if door not in node.doors]
    answers = node.id in view.telemetry
    return Plan(
        f"change {named([field.replace('_', ' ') for field in fields])} of {node}",
        tuple(EnsureListening(node=node.id, address=door) for door in opened) if answers else (),
        Uses((f"node/{node.id}", *(() if fields == ["notes"] else (NODES, *_hosts_used(view, after))))),
        reasons=tuple(_moving(node, after)) if answers else (),
        warnings=()
        if answers or not opened
        else (f"{node} does not answer: its agent is looked for at {after.address} from now on",),
        success=(change(after, *fields),),
    )


def _moving(node: Node, after: Node) -> Iterator[str]:
    if after.address != node.address:
        yield f"it listens at {node.address}, too, until the leader has come to it by {after.address}"
        yield f"should it not answer there: covey node modify {after.name} --address {node.address}"
    if after.storage_address != node.storage_address:
        yield f"what is copied from it goes by {after.storage_address or after.address}, to nodes on that network"


def _address(node: Node, wish: str) -> str:
    """HOST:PORT in its one spelling; without a port, the one that it has. Raises Refused."""
    check(
        node.address,
        Refused(
            "it listens for nobody yet", node, "it does as soon as another machine joins: where `listen` says, at the next port"
        ),
    )
    host, port = split(wish) if has_port(wish) else (wish.strip("[]"), split(node.address)[1])
    return with_host(f":{port}", spelled(host))


def _check_nobody_elses(view: ClusterView, node: Node) -> None:
    """Raises Refused when another node has its name, or listens where it would; and when a guest has its address."""
    for host in node.hosts:
        for network in _networks_of(view, host):
            used = view.addresses.get(network.id)
            holder = view.find("instance", used.get(host) or "") if used else None
            check(holder is None, Refused(f"the address {host} on {network} is that of {holder}", node, "choose another one"))
    for other in view.all("node", Node):
        if other.id != node.id:
            check(other.name != node.name, Refused("the name is taken", node, "see: covey node list"))
            shared = sorted({*node.doors} & {*other.doors})
            check(not shared, Refused(f"{named(shared)} is where {other} listens", node, "see: covey node list"))


def _networks_of(view: ClusterView, host: str) -> list[Network]:
    """Those with a subnet that the address is in."""
    address = ipaddress.ip_address(host)
    return [network for network in view.all("network", Network) if any(address in family.subnet for family in network.families)]


def _hosts_used(view: ClusterView, node: Node) -> tuple[str, ...]:
    """The objects that stand for its addresses: no guest is given one meanwhile."""
    return tuple(sorted(address_object(network.id, host) for host in node.hosts for network in _networks_of(view, host)))


@plans(InviteNode)
def invite(view: ClusterView, request: InviteNode) -> Plan:
    """Raises Refused before `cluster init`."""
    view.check_initialised()
    token = Token(
        f"join-{draw_uuid(request, 'invitation')[:8]}", INVITED, request.digest, request.now, request.now + request.expires_s
    )
    return Plan(
        f"let one machine join {view.cluster.name}",
        uses=Uses(exclusive=(f"token/{token.id}",)),
        reasons=(f"take it back: covey token remove {token.name}",),
        success=(put(token),),
    )


@plans(JoinNode)
def join(view: ClusterView, request: JoinNode) -> Plan:
    """Raises Refused for a machine that is a node already, and for a name or an address that is another node's; NotFound for an
    invitation that was used."""
    view.check_initialised()
    label = f"node {request.name}"
    check(not view.find("node", request.id), Refused("this machine is a node already", label, "see: covey node list"))
    check(
        not view.named("node", request.name),
        Refused("the name is taken", label, "join under another: covey node join --name NAME"),
    )
    node = Node(
        request.id,
        request.name,
        request.now,
        address=request.address,
        state="joining",
        storage_address=request.storage_address and spelled(request.storage_address),
    )
    _check_nobody_elses(view, node)
    used = (view.token(request.invitation),) if request.invitation else ()
    return Plan(
        f"take {request.name} at {request.address} in as a node",
        uses=Uses((f"node/{node.id}", NODES, *_hosts_used(view, node), *(f"token/{token.id}" for token in used))),
        reasons=("it gets the cluster's pools, networks and firewalls before it hosts",),
        success=(put(node), *(delete(token) for token in used)),
    )


@plans(ReaddressNode)
def readdress(view: ClusterView, request: ReaddressNode) -> Plan:
    node = view.node(request.node)
    if node.address == request.address:
        return nothing(f"{node} listens there already")
    return Plan(
        f"{node} listens at {request.address}",
        uses=Uses((f"node/{node.id}", NODES)),
        success=(change(replace(node, address=request.address), "address"),),
    )


@plans(EquipNode)
def equip(view: ClusterView, request: EquipNode) -> Plan:
    """Raises Unavailable while its agent does not answer."""
    node = view.node(request.node)
    check(node.id in view.telemetry, Unavailable("its agent does not answer", node, "see: covey status"))
    steps: list[Step] = [EnsureAccelerator(node=node.id, wanted=view.cluster.accelerator, timeout_s=PROVE_TIMEOUT_S)]
    for pool in sorted(view.all("pool", Pool), key=lambda pool: pool.name):
        steps.append(EnsurePool(node=node.id, pool=pool.id, place=pool.place))
    for firewall in sorted(view.all("firewall", Firewall), key=lambda firewall: firewall.name):
        steps.append(EnsureFirewall(node=node.id, firewall=firewall.id, rules=firewall.rules, before=firewall.rules))
    missing = {network.id: missing_link(view, network, node) for network in view.all("network", Network)}
    steps += (EnsureNetwork(node=node.id, network=told, before=told) for told in all_laid(view, node.id) if not missing[told.id])
    return Plan(
        f"give {node} all that nodes of {view.cluster.name} have",
        tuple(steps),
        Uses((f"node/{node.id}", NODES)),
        warnings=tuple(
            f"{why}: it hosts nothing on {view.find('network', id)} until it has" for id, why in sorted(missing.items()) if why
        ),
        success=(put(replace(node, state="ready")),),
    )


@plans(RemoveNode)
def remove(view: ClusterView, request: RemoveNode) -> Plan:
    """Raises Refused for the last node, and for one that hosts instances, keeps removed ones, or is where an image lies."""
    node = view.node(request.node)
    check(len(view.collections["node"]) > 1, Refused("it is the only node", node))
    guests = sorted(instance.name for instance in view.instances if instance.node == node.id)
    check(not guests, Refused(f"it hosts {named(guests)}", node, "move or remove them first"))
    kept = sorted(removed.title for removed in view.removed if removed.instance.node == node.id)
    check(not kept, Refused(f"it keeps {named(kept)}", node, "restore or purge them first: covey instance list --removed"))
    images = sorted(image.name for image in view.all("image", Image) if image.node == node.id)
    check(not images, Refused(f"the images {named(images)} lie there", node, "remove them, or add them again elsewhere"))
    left = sorted(stale.instance.name for stale in view.stale if stale.instance.node == node.id)
    check(not left, Unavailable(f"what {named(left)} left there when moved is not cleared yet", node, "try again in a moment"))
    return Plan(
        f"take {node} out of the cluster",
        uses=Uses((f"node/{node.id}", NODES)),
        reasons=("its certificates count no more; on the machine itself: covey node leave",),
        success=(delete(node),),
    )
