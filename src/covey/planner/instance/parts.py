"""What the verbs of instances share: the domain, the seed and the wait that follow from a record."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from difflib import get_close_matches

from covey.base.errors import BadInput, Refused, check, require
from covey.base.units import humane_duration, humane_size
from covey.model.domain import Domain, DomainDisk, DomainNic
from covey.model.image import Image
from covey.model.instance import Instance, Nic
from covey.model.machine import Capabilities
from covey.model.network import Network
from covey.model.node import Node
from covey.model.plan import Await, Uses, Write, change
from covey.model.record import SECRETS
from covey.model.seed import Seed, SeedNic
from covey.model.step import ResultOf, Step
from covey.model.steps.instance import (
    EnsureAskedToStop,
    EnsureDefined,
    EnsureGeneration,
    EnsureRunning,
    EnsureSeed,
    EnsureStopped,
)
from covey.model.view import ClusterView
from covey.planner.address import addresses_of
from covey.planner.filters import filtering, firewalls_of
from covey.planner.network.laying import routing
from covey.planner.wording import named


def domain_of(view: ClusterView, instance: Instance) -> Domain:
    """The domain that the record describes."""
    return Domain(
        instance.id,
        instance.name,
        instance.cpus,
        instance.memory,
        view.cluster.accelerator,
        instance.machine,
        tuple(DomainDisk(disk.index, disk.volume, disk.serial) for disk in instance.disks),
        tuple(domain_nic(view, instance, nic) for nic in instance.nics),
        instance.iso,
        instance.seeded,
        instance.max_cpus,
        instance.max_memory,
        instance.firmware,
        instance.cpu_model,
        instance.boot,
        instance.raw_xml,
    )


def domain_nic(view: ClusterView, instance: Instance, nic: Nic) -> DomainNic:
    """The NIC that the record describes, as the hypervisor of the instance's node is told of it."""
    network = _network(view, nic.network)
    return DomainNic(nic.index, nic.mac, (network.on(instance.node) or network).bridge, nic.up)


def cpu_warnings(view: ClusterView, instance: Instance) -> tuple[str, ...]:
    """A guest with more CPUs than its machine is slower than one with as many: they wait for each other."""
    told = view.telemetry.get(instance.node)
    if told is None or not 0 < told.cpus < instance.cpus:
        return ()
    node = view.node_by_id(instance.node)
    return (f"it gets {instance.cpus} CPUs, but {node.name} has {told.cpus}: it will be slower than with {told.cpus}",)


def apart_warnings(view: ClusterView, instance: Instance) -> tuple[str, ...]:
    """Each node has a bridge of its own where Covey makes it: guests of one network on two nodes do not reach each other there."""
    warnings = []
    for id in dict.fromkeys(nic.network for nic in instance.nics):
        network: Network | None = view.find("network", id)
        if network and network.type in ("nat", "isolated"):
            others = [one for one in view.instances if one.node != instance.node and any(nic.network == id for nic in one.nics)]
            names = sorted(f"{one.name} on {view.node_by_id(one.node).name}" for one in others)
            if names:
                warnings.append(f"{network} is another wire on each node: {instance.name} will not reach {named(names)} there")
    return tuple(warnings)


def seed_of(view: ClusterView, instance: Instance) -> Seed:
    """What cloud-init is told: static addresses, so that no DHCP is needed."""
    return Seed(
        instance.id,
        instance.name,
        instance.ssh_keys,
        tuple(_seed_nic(_network(view, nic.network), nic) for nic in instance.nics),
        instance.identity,
        instance.sealed,
    )


def _seed_nic(network: Network, nic: Nic) -> SeedNic:
    """A NIC is told only of what it can reach: the gateways and name servers of the families that it has."""
    given = {version: address for version, address in ((4, nic.address), (6, nic.address6)) if address}
    families = {family.version: family for family in network.families if family.version in given}
    if not given:
        return SeedNic(nic.mac, "", "", (), asks=network.adopted and not any(any(family.pool) for family in network.families))
    lengths = {
        version: family.subnet.max_prefixlen if network.is_per_guest else family.subnet.prefixlen
        for version, family in families.items()
    }
    full = {version: f"{given[version]}/{lengths[version]}" for version in families}
    gateways = {version: "" if network.isolated else family.gateway for version, family in families.items()}
    dns = tuple(server for server in network.dns if ipaddress.ip_address(server).version in families)
    return SeedNic(nic.mac, full.get(4, ""), gateways.get(4, ""), dns, full.get(6, ""), gateways.get(6, ""))


def _network(view: ClusterView, id: str) -> Network:
    network: Network | None = view.find("network", id)
    return require(network, Refused("an instance is on it, but it has no record", f"network {id}", "see: covey cluster verify"))


def presence(view: ClusterView, instance: Instance, is_new: bool = False) -> tuple[Step, ...]:
    """The steps after which the instance's node could start it (its volumes apart): repeated before each start, so that what was lost
    comes back. Of a new one, nothing is left when they are taken back."""
    seed = (EnsureSeed(node=instance.node, seed=seed_of(view, instance), secret=instance.secret),) if instance.seeded else ()
    filtered = filtering(view, instance, None if is_new else instance)
    domain = EnsureDefined(node=instance.node, domain=domain_of(view, instance))
    return (*seed, *routing(view, instance, is_new), *filtered, domain)


def uses_of(instance: Instance) -> Uses:
    """What a change of an instance names: itself; and its node, pools, networks and images must stay, and its addresses its own."""
    shared = {f"node/{instance.node}"}
    shared |= {f"pool/{disk.pool}" for disk in instance.disks}
    shared |= {f"network/{nic.network}" for nic in instance.nics} | addresses_of(instance)
    shared |= {f"image/{disk.image}" for disk in instance.disks if disk.image}
    shared |= {f"firewall/{id}" for id in firewalls_of(instance)}
    if instance.iso:
        shared.add(f"image/{instance.iso}")
    return Uses((f"instance/{instance.id}",), tuple(sorted(shared)))


def uses_of_both(before: Instance, after: Instance) -> Uses:
    """What a change that records `after` when it begins names: should it be taken back, what `before` is on must still be there, and
    the addresses that it has given up must be nobody else's."""
    uses, lost = uses_of(after), addresses_of(before) - addresses_of(after)
    shared = {*uses.shared, *uses_of(before).shared} - lost
    return Uses((*uses.exclusive, *sorted(lost)), tuple(sorted(shared)))


def started(view: ClusterView, instance: Instance, by: str) -> Instance:
    """The record with the next start's generation."""
    generation = max(instance.generation, view.observed(instance.id).generation) + 1
    return replace(instance, desired="running", desired_by=by, generation=generation)


def running(view: ClusterView, instance: Instance, by: str) -> tuple[Instance, EnsureRunning]:
    """The record of an instance that shall run, and the step after which it does. A run that is under way (paused, or not of our making)
    only goes on: it keeps its generation, by which its own word is known; should it be over by then, the next one begins."""
    following = started(view, instance, by)
    under_way = view.observed(instance.id).state in ("running", "paused")
    record = replace(following, generation=instance.generation) if under_way else following
    return record, EnsureRunning(node=instance.node, instance=instance.id, generation=following.generation)


def as_it_runs(instance: Instance, steps: tuple[Step, ...]) -> tuple[Write, ...]:
    """The write after which the record has the generation that runs: whether a run that was under way was over by then, only the
    instance's node could see."""
    index = next(index for index, step in enumerate(steps) if isinstance(step, EnsureRunning))
    return (change(instance, generation=ResultOf(index, "generation")),)


def forget_secret(instance: Instance) -> tuple[Write, ...]:
    """The write after which the instance's user-data is kept nowhere (P13)."""
    return (Write(f"{SECRETS}{instance.secret}", None),) if instance.secret else ()


def await_ready(view: ClusterView, instance: Instance, timeout_s: float = 0.0) -> Await:
    return Await("ready", instance.id, instance.generation, timeout_s or view.cluster.defaults.ready_timeout_s)


def check_settled(instance: Instance) -> None:
    """Raises Refused while the instance is being made or removed."""
    check(
        instance.state == "ready",
        Refused(
            f"it is {instance.state}",
            instance,
            "wait for its job, or cancel it: covey job list"
            if instance.state in ("adding", "restoring")
            else f"finish it: covey instance remove {instance.name}",
        ),
    )


def check_maximum(instance: Instance) -> None:
    """Raises BadInput for more than the declared maximum."""
    for field, value, most, render in (
        ("cpus", instance.cpus, instance.max_cpus, str),
        ("memory", instance.memory, instance.max_memory, humane_size),
    ):
        check(
            not most or value <= most,
            BadInput(
                f"{field} {render(value)} is more than its declared maximum, {render(most)}",
                instance,
                f"raise that, too: --max-{field} {render(value)}, or take it away: --max-{field} none",
            ),
        )


def check_unprotected(instance: Instance) -> None:
    """Raises Refused for an instance that is protected against what would lose it, or a part of it."""
    check(
        not instance.protected,
        Refused("it is protected", instance, f"if it is to be: covey instance modify {instance.name} --no-protected"),
    )


def check_platform(view: ClusterView, node: Node, instance: Instance) -> None:
    """Raises Refused for a firmware or CPU model that a node cannot give."""
    telemetry = view.telemetry.get(node.id)
    can = telemetry.capabilities if telemetry else Capabilities()
    check(
        instance.firmware in can.firmwares,
        Refused(f"{node.name} has no {instance.firmware.upper()} firmware", instance, f"install the package ovmf on {node.name}"),
    )
    models = can.cpu_models.get(view.cluster.accelerator, ())
    near = get_close_matches(instance.cpu_model, models, 3, 0.3) or models[:5]
    check(
        not instance.cpu_model or instance.cpu_model in models,
        Refused(
            f"{node.name} cannot give its guests the CPU {instance.cpu_model} ({view.cluster.accelerator})",
            instance,
            f"it can: {', '.join(near)}; see: covey node info {node.name} --json",
        ),
    )


def ready_iso(view: ClusterView, name: str, label: object) -> Image:
    """Raises NotFound, Refused for an image that is not ready or no ISO."""
    image = ready_image(view, name, label)
    check(image.format == "raw", Refused(f"{image} is a disk, not an ISO", label, "name an image that was made from an ISO"))
    return image


def ready_image(view: ClusterView, name: str, label: object) -> Image:
    image = view.image(name)
    check(image.state == "ready", Refused(f"{image} is {image.state}", label, "wait for its job: covey job list"))
    return image


def stopping(instance: Instance, graceful_s: float) -> tuple[Step, ...]:
    """Asked first, which can still be cancelled; then cut."""
    return (
        *_asking(instance, graceful_s),
        EnsureStopped(node=instance.node, instance=instance.id, generation=instance.generation),
    )


def running_anew(instance: Instance, graceful_s: float = 0.0) -> tuple[Step, ...]:
    """The run before it is asked to end, which can still be cancelled; then it is cut, and the new one begins."""
    anew = EnsureGeneration(node=instance.node, instance=instance.id, generation=instance.generation)
    return (*_asking(instance, graceful_s), anew)


def _asking(instance: Instance, graceful_s: float) -> tuple[Step, ...]:
    return (EnsureAskedToStop(node=instance.node, instance=instance.id, graceful_s=graceful_s),) if graceful_s else ()


def graceful_sentence(graceful_s: float) -> str:
    return f"asked to shut down, cut after {humane_duration(graceful_s)}" if graceful_s else "cut at once"
