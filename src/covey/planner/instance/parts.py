"""What the verbs of instances share: the domain, the seed and the wait that follow from a record."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from covey.base.errors import Refused, check, require
from covey.base.units import humane_duration
from covey.model.domain import Domain, DomainDisk, DomainNic
from covey.model.instance import Instance
from covey.model.network import Network
from covey.model.plan import Await, Uses, Write, change
from covey.model.record import SECRETS
from covey.model.seed import Seed, SeedNic
from covey.model.step import ResultOf, Step
from covey.model.steps.instance import EnsureAskedToStop, EnsureDefined, EnsureRunning, EnsureSeed, EnsureStopped
from covey.model.view import ClusterView


def domain_of(view: ClusterView, instance: Instance) -> Domain:
    """The domain that the record describes."""
    nics = tuple(DomainNic(nic.index, nic.mac, _network(view, nic.network).bridge) for nic in instance.nics)
    return Domain(
        instance.id,
        instance.name,
        instance.cpus,
        instance.memory,
        view.cluster.accelerator,
        instance.machine,
        tuple(DomainDisk(disk.index, disk.volume) for disk in instance.disks),
        nics,
        instance.iso,
        instance.seeded,
    )


def seed_of(view: ClusterView, instance: Instance) -> Seed:
    """What cloud-init is told: static addresses, so that no DHCP is needed."""
    return Seed(
        instance.id,
        instance.name,
        instance.ssh_keys,
        tuple(_seed_nic(_network(view, nic.network), nic.mac, nic.address) for nic in instance.nics),
    )


def _seed_nic(network: Network, mac: str, address: str) -> SeedNic:
    if not address:
        return SeedNic(mac, "", "", ())
    prefix = ipaddress.IPv4Network(network.subnet).prefixlen
    return SeedNic(mac, f"{address}/{prefix}", network.gateway, network.dns)


def _network(view: ClusterView, id: str) -> Network:
    network: Network | None = view.find("network", id)
    return require(network, Refused("an instance is on it, but it has no record", f"network {id}", "see: covey cluster verify"))


def presence(view: ClusterView, instance: Instance) -> tuple[Step, ...]:
    """The steps after which the instance's node could start it (its volumes apart): repeated before each start, so that what was lost
    comes back."""
    seed = (EnsureSeed(node=instance.node, seed=seed_of(view, instance), secret=instance.secret),) if instance.seeded else ()
    return (*seed, EnsureDefined(node=instance.node, domain=domain_of(view, instance)))


def uses_of(instance: Instance) -> Uses:
    """What a change of an instance names: itself; and its node, pools, networks and images must stay."""
    shared = {f"node/{instance.node}"}
    shared |= {f"pool/{disk.pool}" for disk in instance.disks}
    shared |= {f"network/{nic.network}" for nic in instance.nics}
    shared |= {f"image/{disk.image}" for disk in instance.disks if disk.image}
    if instance.iso:
        shared.add(f"image/{instance.iso}")
    return Uses((f"instance/{instance.id}",), tuple(sorted(shared)))


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
            if instance.state == "adding"
            else f"finish it: covey instance remove {instance.name}",
        ),
    )


def stopping(instance: Instance, graceful_s: float) -> tuple[Step, ...]:
    """Asked first, which can still be cancelled; then cut."""
    asked = EnsureAskedToStop(node=instance.node, instance=instance.id, graceful_s=graceful_s)
    return (*((asked,) if graceful_s else ()), EnsureStopped(node=instance.node, instance=instance.id))


def graceful_sentence(graceful_s: float) -> str:
    return f"asked to shut down, cut after {humane_duration(graceful_s)}" if graceful_s else "cut at once"
