"""Verbs of nodes."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, Unavailable, check
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.network import Network
from covey.model.node import Node
from covey.model.plan import Plan, Uses, change, delete, nothing, put
from covey.model.pool import Pool
from covey.model.requests.node import EquipNode, InviteNode, JoinNode, ModifyNode, PingNode, ReaddressNode, RemoveNode
from covey.model.step import Step
from covey.model.steps.firewall import EnsureFirewall
from covey.model.steps.network import EnsureNetwork
from covey.model.steps.node import EnsureAccelerator, EnsureAnswer
from covey.model.steps.pool import EnsurePool
from covey.model.token import INVITED, Token
from covey.model.view import ClusterView
from covey.placement.links import missing_link
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
    node = view.node(request.node)
    if request.notes is None or request.notes == node.notes:
        return nothing(f"{node} is so already")
    return Plan(f"change {node}", uses=Uses(exclusive=(f"node/{node.id}",)), success=(put(replace(node, notes=request.notes)),))


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
    for other in view.all("node", Node):
        check(other.address != request.address, Refused(f"{request.address} is where {other} listens", label))
    node = Node(request.id, request.name, request.now, address=request.address, state="joining")
    used = (view.token(request.invitation),) if request.invitation else ()
    return Plan(
        f"take {request.name} at {request.address} in as a node",
        uses=Uses((f"node/{node.id}", NODES, *(f"token/{token.id}" for token in used))),
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
    return Plan(
        f"take {node} out of the cluster",
        uses=Uses((f"node/{node.id}", NODES)),
        reasons=("its certificates count no more; on the machine itself: covey node leave",),
        success=(delete(node),),
    )
