"""What the API answers, for the OpenAPI document. Answers are made from prepared dicts, not through these models; a test compares."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-20T05:46:00.123Z"])]


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Document):
    """An error (RFC 9457): `title` is its kind, `object` names what it happened to, `hint` says what to do next."""

    type: str = Field(examples=["https://covey.invalid/errors/NotFound"])
    title: str = Field(examples=["NotFound"])
    status: int
    detail: str
    object: str
    hint: str
    request_id: str = Field("", description="By which the log knows the request that was answered so.")


class Page(Document, Generic[T]):
    """A part of a list. `next` is the cursor of the page after this one, `revision` what the list shows."""

    items: list[T]
    next: str | None
    revision: int


class PlannedStep(Document):
    number: int
    kind: str
    node: str
    title: str
    role: Literal["undoable", "pivot", "forward"]
    meaning: str


class ClaimDocument(Document):
    node: str
    pool: str
    amount: int


class AwaitDocument(Document):
    condition: str
    deadline_s: float


class PlanDocument(Document):
    """What would be done, and why."""

    summary: str
    digest: str
    steps: list[PlannedStep]
    reasons: list[str]
    warnings: list[str]
    claims: list[ClaimDocument]
    parts: list[str] = Field(description="What it begins as jobs of their own, in this order.")
    awaits: AwaitDocument | None


class PlanOrProblem(Document):
    """What would be done, or why that cannot be."""

    plan: PlanDocument | None
    problem: Problem | None


class PlansDocument(Document):
    """Plans of several changes, each as it would be behind those before it."""

    plans: list[PlanOrProblem]


class JobStep(Document):
    number: int
    kind: str
    node: str
    title: str
    role: str
    state: Literal["done", "running", "pending", "undone", "failed"]
    seconds: float | None


class WaitingDocument(Document):
    condition: str
    deadline_at: Time


class BlockedDocument(Document):
    object: str
    by: int


class ProgressDocument(Document):
    text: str
    done: int
    total: int


class ChildDocument(Document):
    """A job that another one has begun."""

    id: int
    title: str


class JobDocument(Document):
    """A change under way, or what became of it. `step` is the number of steps done."""

    id: int
    kind: str = Field(examples=["instance.add"])
    title: str
    object: str
    user: str
    reason: str
    state: Literal["queued", "running", "undoing", "waiting", "succeeded", "failed", "cancelled", "superseded", "needs_repair"]
    created_at: Time | None
    planned_at: Time | None
    ended_at: Time | None
    after: list[int]
    step: int
    steps: list[JobStep]
    summary: str
    reasons: list[str]
    warnings: list[str]
    waiting: WaitingDocument | None
    blocked: BlockedDocument | None
    error: Problem | None
    left: list[str]
    parent: int = Field(description="The job that began this one; 0 for none.")
    children: list[ChildDocument]
    parts: int = Field(description="How many jobs it begins in all.")
    log: str
    progress: ProgressDocument | None
    digest: str
    request: dict[str, Any]
    request_id: str = Field(
        description="By which the logs know the request that brought it in; empty for what Covey does itself."
    )


class NewTokenDocument(JobDocument):
    """`secret` is shown this once."""

    secret: str | None = None


class InvitationDocument(JobDocument):
    """`secret`, shown this once, lets one machine join; `fingerprint` (SHA-256) is that of the authority which it must find at one of the
    `doors` (HOST:PORT)."""

    secret: str | None = None
    doors: list[str]
    fingerprint: str


class MembershipDocument(Document):
    """What a machine that has joined is to know of its cluster."""

    cluster: str
    cluster_name: str
    name: str
    address: str
    nodes: list[str]
    doors: list[str]
    is_first: bool
    storage_address: str
    also: list[str]


class JoinedDocument(JobDocument):
    """`certificate` (PEM) says which node the machine is, under the cluster's `authority` (PEM)."""

    certificate: str
    authority: str
    membership: MembershipDocument


class DefaultsDocument(Document):
    cpus: int
    memory: int
    machine: str
    stop_graceful_s: float
    ready_timeout_s: float
    crash_restarts: int
    crash_window_s: float
    keep_removed_s: float


class ExportDocument(Document):
    """What is wanted of the cluster: `cluster`, and a list for each noun. Beside what stands here there are lists of further nouns."""

    model_config = ConfigDict(extra="allow")

    covey: str = Field(description="The release that wrote it.")
    cluster: dict[str, Any]
    nodes: list[dict[str, Any]]
    pools: list[dict[str, Any]]
    networks: list[dict[str, Any]]
    images: list[dict[str, Any]]
    instances: list[dict[str, Any]] = Field(description="As `covey instance add -f FILE` reads them.")


class BackupDocument(Document):
    """The last backup of the records: where it is, and what kept a later one from being made. `node` has the file."""

    made_at: Time | None
    node: str
    file: str
    size: int
    failed_at: Time | None
    error: str


class ClusterDocument(Document):
    name: str
    id: str
    accelerator: str
    accelerator_why: str
    mac_prefix: str
    created_at: Time | None
    defaults: DefaultsDocument
    notes: str
    nodes: int
    instances: int
    backup: BackupDocument


class RoomDocument(Document):
    pool: str
    size: int | None
    free: int | None
    claimed: int
    promised: int


class NodeDocument(Document):
    """A machine, with what it last told of itself. `address` is where its agent listens for leaders, `storage_address` is its own on a second
    network, for what is copied between nodes; one that is `behind` was away while
    the others got something, and hosts nothing new until it has that, too."""

    name: str
    id: str
    address: str
    storage_address: str
    state: Literal["joining", "behind", "ready"]
    drained_at: Time | None
    drain_reason: str
    notes: str
    created_at: Time | None
    answers: bool
    as_of: Time | None
    hostname: str
    boot_id: str
    kernel: str
    hypervisor: str
    uptime_s: float
    cpus: int
    cpu_percent: float
    load1: float
    memory: int
    memory_free: int
    memory_promised: int
    memory_reserved: int
    instances: int
    cpu_models: list[str]
    firmwares: list[str]
    pools: list[RoomDocument]
    problems: list[str]


class PoolRoomDocument(Document):
    node: str
    size: int | None
    free: int | None
    claimed: int
    promised: int


class PoolDocument(Document):
    name: str
    id: str
    template: str
    path: str
    format: str
    created_at: Time | None
    nodes: list[PoolRoomDocument]
    users: list[str]


class ImageDocument(Document):
    name: str
    id: str
    source: str
    state: str
    format: str
    size: int
    file_size: int
    sha256: str
    recipe: dict[str, Any] | None
    notes: str
    created_at: Time | None
    users: list[str]


class LinkDocument(Document):
    """What one node has a network on; "" for the bridge where it is not to have the network. `missing` says what it is to have and has not."""

    node: str
    bridge: str
    uplink: str
    missing: str


class NetworkDocument(Document):
    """A network. `forwards` are the names of those that lead into it."""

    name: str
    id: str
    type: Literal["nat", "routed", "isolated", "adopted"]
    bridge: str
    links: list[LinkDocument]
    uplink: str
    subnet: str
    gateway: str
    pool_first: str
    pool_last: str
    nat: bool
    subnet6: str
    gateway6: str
    pool6_first: str
    pool6_last: str
    nat6: bool
    dns: list[str]
    reserved: list[str]
    host_ports: list[str]
    forwards: list[str]
    notes: str
    created_at: Time | None
    addresses_used: int
    users: list[str]


class ForwardDocument(Document):
    """A port of the nodes that leads to an instance."""

    name: str
    protocol: Literal["tcp", "udp"]
    port: int
    network: str
    instance: str
    to_port: int
    addresses: list[str]
    sources: list[str]
    created_at: Time | None


class TokenDocument(Document):
    name: str
    id: str
    role: str
    created_at: Time | None
    expires_at: Time | None


class DiskDocument(Document):
    index: int
    size: int
    pool: str
    format: str
    image: str
    volume: str


class InstanceDiskDocument(DiskDocument):
    """A disk, and whose it is."""

    instance: str
    node: str


class RuleDocument(Document):
    direction: Literal["in", "out"]
    protocol: Literal["any", "tcp", "udp", "icmp"]
    ports: str
    peer: str


class FirewallDocument(Document):
    """Rules that NICs have in common."""

    name: str
    id: str
    rules: list[RuleDocument]
    notes: str
    created_at: Time | None
    users: list[str]


class SnapshotDiskDocument(Document):
    index: int
    size: int
    pool: str
    layer: str


class SnapshotDocument(Document):
    """All disks of an instance at one moment. `quiesced`: its guest's file systems were at rest; `current`: its disks lie right on it."""

    name: str
    id: str
    instance: str
    created_at: Time | None
    quiesced: bool
    current: bool
    size: int
    disks: list[SnapshotDiskDocument]
    notes: str


class NicDocument(Document):
    index: int
    network: str
    mac: str
    address: str
    up: bool
    guarded: bool
    also: list[str]
    limit_in: int
    limit_out: int
    firewalls: list[str]
    rules: list[RuleDocument]
    tap: str
    address6: str


class InstanceNicDocument(NicDocument):
    """A NIC, and whose it is."""

    instance: str
    node: str


class PendingDocument(Document):
    """What the run under way does not have yet, in people's words: `field` is `now` so, and `then` at the next start."""

    field: str
    now: str
    then: str


class InstanceDocument(Document):
    """A virtual server: what was asked of it, what was last seen, and what it uses now."""

    name: str
    id: str
    node: str
    cpus: int
    memory: int
    machine: str
    state: str
    since_at: Time | None
    reason: str
    desired: Literal["running", "stopped"]
    desired_by: str
    generation: int
    pid: int
    ready: bool
    ready_at: Time | None
    ready_status: str
    ready_s: float
    addresses: list[str]
    disks: list[DiskDocument]
    nics: list[NicDocument]
    firewalls: list[str]
    forwards: list[str]
    iso: str
    image: str
    tags: list[str]
    owner: str
    protected: bool
    notes: str
    ssh_keys: list[str]
    created_at: Time | None
    protection: str
    remark: str
    max_cpus: int
    max_memory: int
    firmware: Literal["bios", "uefi"]
    cpu_model: str
    boot: list[str]
    raw_xml: str
    pending: list[PendingDocument]
    restart_at: Time | None
    crashes: int
    gave_up: bool
    cpu_percent: float | None
    memory_used: int | None


class RemovedDocument(Document):
    """What was removed and is kept until a time: an instance, or a disk by its number."""

    id: str
    what: Literal["instance", "disk"]
    name: str
    disk: int | None
    node: str
    disks: int
    size: int
    used: int
    addresses: list[str]
    removed_at: Time | None
    keep_until_at: Time | None
    by: str
    reason: str


class EventDocument(Document):
    cursor: str
    at: Time | None
    kind: str
    object: str
    text: str
    job: int | None


class EventPage(Document):
    """Events, oldest first; `next` is the cursor of the last of them."""

    items: list[EventDocument]
    next: str | None


def page_of(document: type[BaseModel]) -> type[BaseModel]:
    """The model of a list's answer. With `fields=` items have only those, so none of them is required there."""
    partial: type[BaseModel] = type(
        f"{document.__name__.removesuffix('Document')}Item",
        (Document,),
        {
            "__annotations__": {
                name: Any if each.annotation is None else each.annotation for name, each in document.model_fields.items()
            },
            "__module__": __name__,
            "__doc__": document.__doc__,
            **dict.fromkeys(document.model_fields),
        },
    )
    return type(f"{document.__name__.removesuffix('Document')}Page", (Page[partial],), {"__module__": __name__})  # type: ignore[valid-type]
