"""The ClusterView: all records of one revision, immutable, with the indexes that planners and reads need.

A change makes a new view that shares what it did not touch: the maps are hash array mapped tries (`immutables`), so a change costs the same
with five thousand records as with five. Their order is that of no list: what must come in an order is sorted. Everything a planner may know is here (P6); `telemetry` is beside the records
and is never the ground of a safety decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from immutables import Map, MapMutation

from covey.base.errors import NotFound, Refused, check, require
from covey.model.cluster import Cluster
from covey.model.firewall import Firewall
from covey.model.image import Image
from covey.model.instance import Disk, Instance, Observed
from covey.model.job import Debris, Job, Leadership, PlanRecord
from covey.model.network import Forward, Network
from covey.model.node import Node, Telemetry
from covey.model.pool import Pool, Space
from covey.model.record import COLLECTIONS, PREFIX, Record
from covey.model.removed import Removed
from covey.model.restoration import Restoration
from covey.model.run import Run
from covey.model.snapshot import Layer, Snapshot
from covey.model.stale import Stale, stale_id
from covey.model.token import Token

R = TypeVar("R")
V = TypeVar("V")
Held = tuple[int, Any]  # the revision that wrote a record (0: planned, not yet committed), and the record
_NAMED = ("node", "pool", "image", "network", "firewall", "instance", "token", "forward")
_EMPTY: Map[str, Any] = Map()


@dataclass(frozen=True, slots=True)
class ClusterView:
    revision: int = 0
    collections: Mapping[str, Map[str, Held]] = field(default_factory=lambda: dict.fromkeys(COLLECTIONS, _EMPTY))
    names: Mapping[str, Map[str, str]] = field(default_factory=lambda: dict.fromkeys(_NAMED, _EMPTY))
    macs: Map[str, str] = _EMPTY  # MAC -> instance id
    addresses: Mapping[str, Map[str, str]] = field(default_factory=dict)  # network id -> address -> instance id
    memory_used: Mapping[str, int] = field(default_factory=dict)  # node id -> bytes of what runs or shall run there
    claimed: Mapping[str, int] = field(default_factory=dict)  # "node/pool" -> bytes of running plans
    telemetry: Mapping[str, Telemetry] = field(default_factory=dict)

    # --- reading -------------------------------------------------------------------------------------------------------------------
    def all(self, collection: str, cls: type[R]) -> Iterator[R]:
        """Every record of a collection, unordered."""
        for _, record in self.collections[collection].values():
            yield record

    def find(self, collection: str, id: str) -> Any | None:
        held = self.collections[collection].get(id)
        return held[1] if held else None

    def revision_of(self, collection: str, id: str) -> int:
        """The revision that wrote a record; 0 when it is absent."""
        held = self.collections[collection].get(id)
        return held[0] if held else 0

    def held(self, key: str) -> tuple[Any | None, int]:
        """The record under a `state/` key and the revision that wrote it; None and 0 when it is absent."""
        collection, _, id = key[len(PREFIX) :].partition("/")
        revision, record = self.collections[collection].get(id, (0, None)) if collection in self.collections else (0, None)
        return record, revision

    def named(self, collection: str, name: str) -> Any | None:
        id = self.names[collection].get(name)
        return self.find(collection, id) if id else None

    def _get(self, collection: str, name: str) -> Any:
        record = self.named(collection, name)
        if record is None:
            close = get_close_matches(name, list(self.names[collection])[:2000], 1)
            hint = f"did you mean {close[0]}?" if close else f"see: covey {collection} list"
            if collection == "instance" and (removed := self.find_removed("instance", name)):
                hint = f"it was removed: covey instance restore {removed.instance.name}"
            raise NotFound(f"there is no {collection} of that name", f"{collection} {name[:80]}", hint)
        return record

    @property
    def is_initialised(self) -> bool:
        return "cluster" in self.collections["cluster"]

    def check_initialised(self) -> None:
        """Raises Refused before `cluster init`."""
        check(self.is_initialised, Refused("there is no cluster here yet", "cluster", "make one: covey cluster init NAME"))

    @property
    def restoration(self) -> Restoration | None:
        """The last time that the records were brought back."""
        found: Restoration | None = self.find("restoration", "last")
        return found

    @property
    def is_reconciling(self) -> bool:
        """Whether the records were brought back, and may not say what runs: nothing is started, stopped or removed by them (S14)."""
        return bool(self.restoration and self.restoration.is_open)

    @property
    def cluster(self) -> Cluster:
        """Raises Refused before `cluster init`."""
        self.check_initialised()
        cluster: Cluster = self.collections["cluster"]["cluster"][1]
        return cluster

    def node(self, name: str) -> Node:
        node: Node = self._get("node", name)
        return node

    def pool(self, name: str) -> Pool:
        pool: Pool = self._get("pool", name)
        return pool

    def image(self, name: str) -> Image:
        image: Image = self._get("image", name)
        return image

    def network(self, name: str) -> Network:
        network: Network = self._get("network", name)
        return network

    def firewall(self, name: str) -> Firewall:
        firewall: Firewall = self._get("firewall", name)
        return firewall

    def forward(self, name: str) -> Forward:
        forward: Forward = self._get("forward", name)
        return forward

    def instance(self, name: str) -> Instance:
        instance: Instance = self._get("instance", name)
        return instance

    def token(self, name: str) -> Token:
        token: Token = self._get("token", name)
        return token

    def observed(self, instance: str) -> Observed:
        """What was last seen of an instance; before its first report, "unknown"."""
        observed: Observed | None = self.find("observed", instance)
        return observed or Observed(instance, "unknown", 0.0)

    def holders(self, instance: Instance) -> dict[str, int]:
        """The nodes (by id) that may run it, each with the start by which it may (S4)."""
        run: Run | None = self.find("run", instance.id)
        return run.holders if run else {instance.node: instance.generation}

    def node_by_id(self, id: str) -> Node:
        node: Node | None = self.find("node", id)
        return require(node, NotFound("there is no node of that id", f"node {id}"))

    def pool_by_id(self, id: str) -> Pool:
        pool: Pool | None = self.find("pool", id)
        return require(pool, NotFound("there is no pool of that id", f"pool {id}"))

    @property
    def instances(self) -> Iterator[Instance]:
        return self.all("instance", Instance)

    @property
    def removed(self) -> Iterator[Removed]:
        return self.all("removed", Removed)

    @property
    def disks(self) -> Iterator[tuple[Instance | Removed | Stale, Disk]]:
        """Every disk that a record owns, of a removed instance and of what moves left too, with its owner."""
        for instance in self.instances:
            yield from ((instance, disk) for disk in instance.disks)
        for removed in self.removed:
            yield from ((removed, disk) for disk in removed.instance.disks)
        for stale in self.stale:
            yield from ((stale, disk) for disk in stale.instance.disks)

    @property
    def stale(self) -> Iterator[Stale]:
        return self.all("stale", Stale)

    def find_stale(self, instance: str, node: str) -> Stale | None:
        """What an instance left on a node, both by id."""
        return self.find("stale", stale_id(instance, node))

    def find_removed(self, what: str, name: str, disk: int = -1) -> Removed | None:
        """What was removed last under a name, or has that id: an instance, or the disk of one by its index."""
        named = [
            removed
            for removed in self.removed
            if removed.what == what
            and (removed.id == name or (removed.instance.name == name and (disk < 0 or removed.disk.index == disk)))
        ]
        return max(named, key=lambda removed: (removed.removed_at, removed.id), default=None)

    @property
    def layers(self) -> Iterator[Layer]:
        return self.all("layer", Layer)

    def snapshots(self, instance: Instance) -> list[Snapshot]:
        """Those of one instance, the oldest first."""
        own = (snapshot for snapshot in self.all("snapshot", Snapshot) if snapshot.instance == instance.id)
        return sorted(own, key=lambda snapshot: (snapshot.created_at, snapshot.name))

    def snapshot(self, instance: Instance, name: str) -> Snapshot:
        """Raises NotFound."""
        own = self.snapshots(instance)
        found = next((snapshot for snapshot in own if snapshot.name == name), None)
        has = ", ".join(snapshot.name for snapshot in own[-10:]) or "none"
        hint = f"see: covey snapshot list {instance.name}"
        return require(found, NotFound(f"it has no snapshot {name[:80]} (it has: {has})", instance, hint))

    @property
    def jobs(self) -> Iterator[Job]:
        return self.all("job", Job)

    def plan(self, job: int) -> PlanRecord | None:
        return self.find("plan", f"{job:010d}")

    def job_at_work_on(self, object: str) -> int:
        """The number of the job under way that has an object ("instance/<id>") to itself; 0 when there is none."""
        for record in self.all("plan", PlanRecord):
            if object in record.plan.uses.exclusive:
                return record.id
        return 0

    @property
    def debris(self) -> Iterator[Debris]:
        return self.all("debris", Debris)

    @property
    def leadership(self) -> Leadership | None:
        return self.find("leadership", "leader")

    def space(self, node: str, pool: Pool) -> Space | None:
        """Room in a pool with what running plans claim counted as used; None when its node has not said."""
        telemetry = self.telemetry.get(node)
        space = telemetry.pools.get(pool.id) if telemetry else None
        return Space(space.size, space.free - self.claimed.get(f"{node}/{pool.id}", 0)) if space else None

    # --- changing ------------------------------------------------------------------------------------------------------------------
    def apply(self, changes: Iterable[tuple[str, Record | None]], revision: int, written: int | None = None) -> ClusterView:
        """The view after `changes` (key and record, None when deleted), now of `revision`. `written` is what the records' own revision
        becomes (0 for what is only planned); by default `revision`."""
        edit = _Edit(self)
        for key, record in changes:
            collection, _, id = key[len(PREFIX) :].partition("/")
            edit.change(collection, id, record, revision if written is None else written)
        return edit.finish(revision)

    @staticmethod
    def of(records: Iterable[tuple[str, Record, int]], revision: int) -> ClusterView:
        """The view of a whole listing: key, record and the revision that wrote it."""
        edit = _Edit(ClusterView())
        for key, record, written in records:
            collection, _, id = key[len(PREFIX) :].partition("/")
            edit.change(collection, id, record, written)
        return edit.finish(revision)

    def with_telemetry(self, node: str, telemetry: Telemetry | None) -> ClusterView:
        merged = {**self.telemetry, node: telemetry} if telemetry else {k: v for k, v in self.telemetry.items() if k != node}
        return replace(self, telemetry=merged)


class _Edit:
    """One change of a view: opens each map for mutation when it is first written to."""

    def __init__(self, view: ClusterView) -> None:
        self.view = view
        self.records: dict[str, MapMutation[str, Held]] = {}
        self.names: dict[str, MapMutation[str, str]] = {}
        self.addresses: dict[str, MapMutation[str, str]] = {}
        self.macs: MapMutation[str, str] | None = None
        self.memory: dict[str, int] | None = None
        self.claimed: dict[str, int] | None = None

    def finish(self, revision: int) -> ClusterView:
        view = self.view
        return ClusterView(
            revision,
            _finished(view.collections, self.records),
            _finished(view.names, self.names),
            view.macs if self.macs is None else self.macs.finish(),
            _finished(view.addresses, self.addresses),
            view.memory_used if self.memory is None else self.memory,
            view.claimed if self.claimed is None else self.claimed,
            view.telemetry,
        )

    def change(self, collection: str, id: str, record: Any, revision: int) -> None:
        held = _opened(self.view.collections, self.records, collection)
        before = held.get(id)
        if record is not None:
            held[id] = (revision, record)
        elif before:
            del held[id]
        old = before[1] if before else None
        if collection in _NAMED:
            self._index_name(collection, old, record)
        if collection == "instance":
            self._index_instance(old, record)
        elif collection == "plan":
            self._index_claims(old, record)

    def _index_name(self, collection: str, old: Any, new: Any) -> None:
        if old and new and old.name == new.name and old.id == new.id:
            return
        names = _opened(self.view.names, self.names, collection)
        if old and names.get(old.name) == old.id:
            del names[old.name]
        if new:
            names[new.name] = new.id

    def _index_instance(self, old: Instance | None, new: Instance | None) -> None:
        if old is None or new is None or old.nics != new.nics:
            for nic in old.nics if old else ():
                _give_up(self._macs(), nic.mac, old)
                for address in nic.addresses:
                    _give_up(self._addresses(nic.network), address, old)
            owner = new.id if new else ""
            for nic in new.nics if new else ():
                self._macs()[nic.mac] = owner
                for address in nic.addresses:
                    self._addresses(nic.network)[address] = owner
        for instance, sign in ((old, -1), (new, 1)):
            if instance and instance.desired == "running":
                if self.memory is None:
                    self.memory = dict(self.view.memory_used)
                self.memory[instance.node] = self.memory.get(instance.node, 0) + sign * instance.memory

    def _index_claims(self, old: PlanRecord | None, new: PlanRecord | None) -> None:
        for plan, sign in ((old, -1), (new, 1)):
            for claim in plan.plan.claims if plan else ():
                if self.claimed is None:
                    self.claimed = dict(self.view.claimed)
                place = f"{claim.node}/{claim.pool}"
                self.claimed[place] = self.claimed.get(place, 0) + sign * claim.amount

    def _macs(self) -> MapMutation[str, str]:
        if self.macs is None:
            self.macs = self.view.macs.mutate()
        return self.macs

    def _addresses(self, network: str) -> MapMutation[str, str]:
        return _opened(self.view.addresses, self.addresses, network)


def _opened(maps: Mapping[str, Map[str, V]], open: dict[str, MapMutation[str, V]], name: str) -> MapMutation[str, V]:
    """The map `name` of `maps`, opened once."""
    mutation = open.get(name)
    if mutation is None:
        mutation = open[name] = maps.get(name, _EMPTY).mutate()
    return mutation


def _finished(maps: Mapping[str, Map[str, V]], open: dict[str, MapMutation[str, V]]) -> Mapping[str, Map[str, V]]:
    return {**maps, **{name: mutation.finish() for name, mutation in open.items()}} if open else maps


def _give_up(owners: MapMutation[str, str], thing: str, owner: Instance | None) -> None:
    """`thing` is its owner's no more, unless another record of the same revision took it over before."""
    if owner and owners.get(thing) == owner.id:
        del owners[thing]
