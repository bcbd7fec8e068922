"""Verbs of forwards."""

from __future__ import annotations

import ipaddress

from covey.base.errors import BadInput, NotFound, Refused, check
from covey.model.instance import Instance
from covey.model.network import Forward, Network
from covey.model.plan import Plan, Uses, delete, put
from covey.model.requests.forward import AddForward, RemoveForward
from covey.model.requests.network import parse_network, parse_port
from covey.model.view import ClusterView
from covey.planner.network.laying import changed, laying_anew
from covey.planner.registry import plans
from covey.planner.wording import named

SSH = ("tcp", 22)


@plans(AddForward)
def add(view: ClusterView, request: AddForward) -> Plan:
    """Lead a port of the nodes to an instance. Raises Refused for a port that leads elsewhere already, and for a network whose guests are
    not hidden."""
    protocol, port, _ = parse_port(request.port, "port")
    name = f"{protocol}-{port}"
    there: Forward | None = view.named("forward", name)
    check(
        there is None,
        Refused("the port leads elsewhere already", f"forward {name}", f"see: covey forward info {name}"),
    )
    instance = view.instance(request.instance)
    check(instance.state == "ready", Refused(f"it is {instance.state}", instance, "wait for its job: covey job list"))
    network = _network(view, request, instance)
    sources = tuple(dict.fromkeys(str(parse_network(source, "sources")) for source in request.sources))
    forward = Forward(name, name, network.id, instance.id, protocol, port, request.to_port or port, sources, request.now)
    after = changed(view, forward)
    _check_families(after, network, instance, forward)
    return Plan(
        f"lead {protocol}/{port} of the nodes to {instance}, {protocol}/{forward.to_port}",
        laying_anew(view, after, network.id),
        Uses(exclusive=(f"forward/{forward.id}", f"network/{network.id}"), shared=(f"instance/{instance.id}",)),
        reasons=(f"for {named(sources)} only" if sources else "for everybody who reaches the node",),
        warnings=("SSH to the node itself ends here: it reaches the guest from now on",) if (protocol, port) == SSH else (),
        success=(put(forward),),
    )


@plans(RemoveForward)
def remove(view: ClusterView, request: RemoveForward) -> Plan:
    forward = view.forward(request.forward)
    return Plan(
        f"lead {forward.protocol}/{forward.port} of the nodes nowhere",
        laying_anew(view, changed(view, without=(forward,)), forward.network),
        Uses(exclusive=(f"forward/{forward.id}", f"network/{forward.network}")),
        success=(delete(forward),),
    )


def _network(view: ClusterView, request: AddForward, instance: Instance) -> Network:
    """The network by which the instance is reached. Raises Refused when nothing is hidden there, NotFound when it is not on it."""
    on = [view.find("network", id) for id in dict.fromkeys(nic.network for nic in instance.nics if nic.addresses)]
    networks: list[Network] = [network for network in on if network]
    if request.network:
        network = view.network(request.network)
        check(network in networks, NotFound(f"it has no address in {network}", instance))
        check(
            network.type == "nat",
            Refused(f"it is {network.type}: no port leads into it", network, "guests of networks with NAT alone need forwards"),
        )
        return network
    hidden = [network for network in networks if network.type == "nat"]
    check(
        len(hidden) == 1,
        Refused(
            f"it is on {len(hidden) or 'no'} networks with NAT" if len(hidden) != 1 else "",
            instance,
            "name one: --network NAME"
            if hidden
            else "guests of other networks are reached by their own addresses, or not at all",
        ),
    )
    return hidden[0]


def _check_families(view: ClusterView, network: Network, instance: Instance, forward: Forward) -> None:
    """Raises BadInput when no source can ever reach the guest: none is of a family that it has."""
    nics = [nic for nic in instance.nics if nic.network == network.id]
    versions = {ipaddress.ip_address(address).version for nic in nics for address in nic.addresses}
    sources = {ipaddress.ip_network(source).version for source in forward.sources}
    check(
        not sources or sources & versions,
        BadInput(f"{instance} has no address of the sources' family", forward, "name sources of the other"),
    )
