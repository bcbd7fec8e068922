"""What `GET /metrics` tells to Prometheus: what the view holds at this moment, and what this process has measured.

Thousands of instances are told in a fraction of the time that a general library takes: a family is written line by line here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from covey import __version__
from covey.base import metrics
from covey.model.instance import Observed
from covey.model.network import Network
from covey.model.node import InstanceUse, Node
from covey.model.pool import Pool
from covey.model.view import ClusterView
from covey.service.inside import Inside
from covey.store.feed import Changes

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("running", "paused", "stopped", "crashed", "missing", "unknown", "adding", "removing")
UNDER_WAY = ("queued", "running", "undoing", "waiting")
Labels = tuple[str, ...]
Samples = Iterator[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name. `read` yields the values of the labels and the number."""

    name: str
    kind: str  # gauge | counter
    about: str
    labels: Labels
    read: Callable[[Inside], Samples]

    def lines(self, inside: Inside) -> Iterator[str]:
        yield f"# HELP {self.name} {self.about}\n# TYPE {self.name} {self.kind}\n"
        for values, number in self.read(inside):
            named = ",".join(f'{label}="{escape(value)}"' for label, value in zip(self.labels, values, strict=True))
            yield f"{self.name}{{{named}}} {number:.17g}\n" if named else f"{self.name} {number:.17g}\n"


@dataclass(frozen=True, slots=True)
class InstanceFamily:
    """A number of each instance: of what it uses when it is told (None: nothing is said), else of its record."""

    name: str
    kind: str
    about: str
    of_use: Callable[[InstanceUse], float]


def escape(value: str) -> str:
    """The value of a label. Names need it not; what a hypervisor says of itself may."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") if not value.isalnum() else value


def count_crashes(before: ClusterView, after: ClusterView, changes: Changes) -> None:
    """A listener of the feed."""
    for _, record in changes:
        if isinstance(record, Observed) and record.crashes:
            known = before.observed(record.id).crashes
            if record.crashes[-1:] != known[-1:]:
                metrics.CRASHES.inc()


def exposition(inside: Inside) -> bytes:
    """The whole answer."""
    parts = [line for family in FAMILIES for line in family.lines(inside)]
    if inside.instance_metrics:
        parts += _instances(inside.view)
    return "".join(parts).encode() + metrics.exposition()


# --- what is read ------------------------------------------------------------------------------------------------------------------
def _nodes(inside: Inside) -> list[Node]:
    return sorted(inside.view.all("node", Node), key=lambda node: node.name)


def _of_nodes(read: Callable[[ClusterView, Node], float | None]) -> Callable[[Inside], Samples]:
    """A number of each node; None: it does not answer."""

    def samples(inside: Inside) -> Samples:
        for node in _nodes(inside):
            number = read(inside.view, node)
            if number is not None:
                yield (node.name,), number

    return samples


def _told(name: str, scale: float = 1.0) -> Callable[[Inside], Samples]:
    """A field of each node's telemetry."""

    def read(view: ClusterView, node: Node) -> float | None:
        told = view.telemetry.get(node.id)
        return float(getattr(told, name)) * scale if told else None

    return _of_nodes(read)


def _rooms(read: Callable[[ClusterView, Node, Pool], float | None]) -> Callable[[Inside], Samples]:
    """A number of each pool on each node."""

    def samples(inside: Inside) -> Samples:
        pools = [pool for pool in inside.view.all("pool", Pool) if pool.capability.holds_volumes]
        for node in _nodes(inside):
            for pool in sorted(pools, key=lambda pool: pool.name):
                number = read(inside.view, node, pool)
                if number is not None:
                    yield (node.name, pool.name), number

    return samples


def _size(view: ClusterView, node: Node, pool: Pool) -> float | None:
    told = view.telemetry.get(node.id)
    return told.pools[pool.id].size if told and pool.id in told.pools else None


def _free(view: ClusterView, node: Node, pool: Pool) -> float | None:
    told = view.telemetry.get(node.id)
    return told.pools[pool.id].free if told and pool.id in told.pools else None


def _claimed(view: ClusterView, node: Node, pool: Pool) -> float:
    return view.claimed.get(f"{node.id}/{pool.id}", 0)


def _instance_states(inside: Inside) -> Samples:
    view = inside.view
    found = Counter(view.observed(each.id).state if each.state == "ready" else each.state for each in view.instances)
    for state in (*STATES, *sorted(found.keys() - set(STATES))):
        yield (state,), found[state]


def _job_states(inside: Inside) -> Samples:
    found = Counter(job.state for job in inside.view.jobs)
    for state in UNDER_WAY:
        yield (state,), found[state]


def _job_ages(inside: Inside) -> Samples:
    now = inside.clock.now()
    for state in UNDER_WAY:
        begun = [job.created_at for job in inside.view.jobs if job.state == state]
        yield (state,), max(now - min(begun), 0.0) if begun else 0.0


def _addresses(inside: Inside) -> Samples:
    for network in sorted(inside.view.all("network", Network), key=lambda network: network.name):
        yield (network.name,), len(inside.view.addresses.get(network.id, ()))


def _one(read: Callable[[Inside], float]) -> Callable[[Inside], Samples]:
    def samples(inside: Inside) -> Samples:
        yield (), read(inside)

    return samples


def _build(inside: Inside) -> Samples:
    yield (__version__,), 1.0


FAMILIES = (
    Family("covey_build_info", "gauge", "The release that answers.", ("version",), _build),
    Family("covey_node_up", "gauge", "1 when the node's agent answers.", ("node",), _of_nodes(lambda view, node: node.id in view.telemetry)),
    Family("covey_node_cpus", "gauge", "Processors of a node.", ("node",), _told("cpus")),
    Family("covey_node_cpu_ratio", "gauge", "How busy its processors are: 0 to 1.", ("node",), _told("cpu_percent", 0.01)),
    Family("covey_node_load1", "gauge", "Its mean load of the last minute.", ("node",), _told("load1")),
    Family("covey_node_memory_bytes", "gauge", "Its memory.", ("node",), _told("memory")),
    Family("covey_node_memory_free_bytes", "gauge", "What new programs can have of it.", ("node",), _told("memory_free")),
    Family(
        "covey_node_memory_promised_bytes",
        "gauge",
        "What the instances that should run there may take.",
        ("node",),
        _of_nodes(lambda view, node: view.memory_used.get(node.id, 0)),
    ),
    Family("covey_node_uptime_seconds", "gauge", "Since its boot.", ("node",), _told("uptime_s")),
    Family(
        "covey_node_problems",
        "gauge",
        "What its agent complains of: see covey node info.",
        ("node",),
        _of_nodes(lambda view, node: len(view.telemetry[node.id].problems) if node.id in view.telemetry else None),
    ),
    Family("covey_pool_size_bytes", "gauge", "Size of a pool.", ("node", "pool"), _rooms(_size)),
    Family("covey_pool_free_bytes", "gauge", "What is free in it.", ("node", "pool"), _rooms(_free)),
    Family("covey_pool_claimed_bytes", "gauge", "What running jobs will take of that.", ("node", "pool"), _rooms(_claimed)),
    Family("covey_network_addresses_used", "gauge", "Addresses that NICs of a network have.", ("network",), _addresses),
    Family("covey_instances", "gauge", "Instances by state.", ("state",), _instance_states),
    Family(
        "covey_instances_given_up",
        "gauge",
        "Instances that crashed too often and stay down: see covey status.",
        (),
        _one(lambda inside: sum(1 for each in inside.view.instances if inside.view.observed(each.id).gave_up)),
    ),
    Family(
        "covey_instances_astray",
        "gauge",
        "Instances that should run and do not.",
        (),
        _one(lambda inside: sum(1 for each in inside.view.instances if _is_astray(inside.view, each.id, each.desired))),
    ),
    Family("covey_jobs", "gauge", "Jobs under way by state.", ("state",), _job_states),
    Family("covey_job_oldest_seconds", "gauge", "Age of the oldest job of a state; 0 when there is none.", ("state",), _job_ages),
    Family(
        "covey_jobs_needing_repair",
        "gauge",
        "Jobs that ended half done: see covey status.",
        (),
        _one(lambda inside: len(inside.history.needing_repair())),
    ),
    Family(
        "covey_debris",
        "gauge",
        "What undone jobs had to leave behind, to be removed later.",
        (),
        _one(lambda inside: sum(1 for _ in inside.view.debris)),
    ),
    Family("covey_store_revision", "gauge", "Transactions that the store has seen.", (), _one(lambda inside: inside.view.revision)),
    Family(
        "covey_store_reserve_used",
        "gauge",
        "1 while the store lives on its reserve of disk: make room.",
        (),
        _one(lambda inside: inside.reserve_used()),
    ),
)  # fmt: skip


def _is_astray(view: ClusterView, id: str, desired: str) -> bool:
    return desired == "running" and view.observed(id).state not in ("running", "unknown")


# --- instances ---------------------------------------------------------------------------------------------------------------------
USES = (
    InstanceFamily("covey_instance_cpu_seconds_total", "counter", "Processor time of an instance.", lambda use: use.cpu_s),
    InstanceFamily("covey_instance_memory_used_bytes", "gauge", "Memory that it uses.", lambda use: use.memory),
    InstanceFamily(
        "covey_instance_disk_read_bytes_total", "counter", "What it has read from its disks.", lambda use: use.traffic.disk_read
    ),
    InstanceFamily(
        "covey_instance_disk_written_bytes_total", "counter", "What it has written to them.", lambda use: use.traffic.disk_written
    ),
    InstanceFamily("covey_instance_disk_reads_total", "counter", "How often it has read.", lambda use: use.traffic.disk_reads),
    InstanceFamily(
        "covey_instance_disk_writes_total", "counter", "How often it has written.", lambda use: use.traffic.disk_writes
    ),
    InstanceFamily(
        "covey_instance_network_received_bytes_total", "counter", "What has come to its NICs.", lambda use: use.traffic.received
    ),
    InstanceFamily(
        "covey_instance_network_sent_bytes_total", "counter", "What its NICs have sent.", lambda use: use.traffic.sent
    ),
)
UP = "covey_instance_up"
UP_ABOUT = "1 when the instance runs, 0 when it should and does not; nothing when it is meant to be stopped."


def _instances(view: ClusterView) -> list[str]:
    """About ten samples an instance. Most of the time of an answer is spent here: names hold nothing to escape."""
    nodes = {id: held[1].name for id, held in view.collections["node"].items()}
    uses: dict[str, InstanceUse] = {}
    for told in view.telemetry.values():
        uses.update(told.instances)
    up = [f"# HELP {UP} {UP_ABOUT}\n# TYPE {UP} gauge\n"]
    used: list[tuple[str, InstanceUse]] = []
    for instance in view.instances:
        labels = f'{{instance="{instance.name}",node="{nodes.get(instance.node, instance.node)}"}}'
        runs = view.observed(instance.id).state == "running"
        if runs or instance.desired == "running":
            up.append(f"{UP}{labels} {int(runs)}\n")
        use = uses.get(instance.id)
        if use is not None:
            used.append((labels, use))
    parts = ["".join(up)]
    for family in USES:
        name, of_use = family.name, family.of_use
        head = f"# HELP {name} {family.about}\n# TYPE {name} {family.kind}\n"
        parts.append(head + "".join([f"{name}{labels} {of_use(use)}\n" for labels, use in used]))
    return parts


# --- all names, for the reference and for whoever checks alerts and dashboards --------------------------------------------------------
def known() -> dict[str, tuple[str, str, Labels]]:
    """Every family: what kind it is, what it says, and its labels."""
    found = {family.name: (family.kind, family.about, family.labels) for family in FAMILIES}
    found[UP] = ("gauge", UP_ABOUT, ("instance", "node"))
    found |= {family.name: (family.kind, family.about, ("instance", "node")) for family in USES}
    return found | {measured.name: (measured.kind, measured.about, measured.labels) for measured in metrics.MEASURED}
