"""What leader and agents say to each other (P9)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from covey.model import codec
from covey.model.domain import Drift, FoundDomain
from covey.model.filter import FoundFilters
from covey.model.local import LocalAct
from covey.model.network import FoundNetwork, Network
from covey.model.node import Telemetry
from covey.model.pool import FoundVolume, Place, Space
from covey.model.shape import Shape
from covey.model.step import Step
from covey.model.transfer import FoundUpload

Epoch = tuple[int, int]  # incarnation and epoch, compared in that order (S13)


@dataclass(frozen=True, slots=True)
class Order:
    """A step to carry out, or to take back. `id` is `<job>.<step>`; `session` is the agent's process that it was meant for, so that
    what was sent to a dead one has no effect on its successor. `secrets` are the values of the references that the step names."""

    id: str
    epoch: Epoch
    session: str
    step: Step
    undo: bool = False
    secrets: dict[str, str] = field(default_factory=dict)
    request: str = ""  # the API's request that the job came in with, for the log

    @property
    def task(self) -> str:
        return f"{self.id}.undo" if self.undo else self.id

    @property
    def job(self) -> str:
        """The tag of what the step makes (P4)."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Hello:
    """How an agent introduces itself to a leader. `in_flight` are the tasks that it is at work on, whoever ordered them; `acts` what a
    person did there while nobody led, and no leader has taken in."""

    node: str
    session: str
    in_flight: tuple[str, ...]
    telemetry: Telemetry
    acts: tuple[LocalAct, ...] = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """What the leader has an agent look after: pools whose room it reports, by id, and networks it compares."""

    pools: dict[str, Place]
    networks: tuple[Network, ...]
    nodes: tuple[str, ...] = ()  # ids of the cluster's nodes, whose controllers may give orders
    cluster_name: str = ""
    name: str = ""  # the node's own, and where it is to listen
    address: str = ""
    storage_address: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of Covey's on a machine, for `cluster verify`. `problems` are what could not be looked at, a sentence each."""

    domains: tuple[FoundDomain, ...]
    volumes: tuple[FoundVolume, ...]
    images: tuple[tuple[str, str], ...]
    networks: tuple[FoundNetwork, ...]
    seeds: tuple[str, ...]
    problems: tuple[str, ...]
    filters: FoundFilters | None = None  # None when they could not be looked at
    drifts: dict[str, Drift] = field(default_factory=dict)  # by instance; those without are as Covey made them
    uploads: tuple[FoundUpload, ...] = ()


@codec.family
@dataclass(frozen=True, slots=True)
class Message:
    """What an agent streams to the leader."""

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            cls.kind = kind
        if cls.kind:
            codec.member(Message, cls.kind, cls)


@dataclass(frozen=True, slots=True)
class Outcome(Message, kind="outcome"):
    """How a task ended: `result` on success, else `error` (a CoveyError as JSON). Repeated until acknowledged."""

    task: str
    result: dict[str, Any]
    error: dict[str, Any] | None
    log: str = ""


@dataclass(frozen=True, slots=True)
class Progress(Message, kind="progress"):
    task: str
    text: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Observation(Message, kind="observation"):
    """The state of one instance's domain; `missing` when the machine has none. `ready_generation` 0: not ready yet."""

    instance: str
    state: str
    reason: str
    generation: int
    pid: int
    ready_generation: int = 0
    ready_status: str = ""
    ready_s: float = 0.0
    addresses: tuple[str, ...] = ()
    live: Shape | None = None


@dataclass(frozen=True, slots=True)
class Observed(Message, kind="observed-all"):
    """Every domain of the machine, sent when a stream begins: what is not in it is missing."""

    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Room(Message, kind="room"):
    """The part of telemetry that a step on a volume changes: room by pool id, and what is wrong with pools or the hypervisor."""

    as_of: float
    pools: dict[str, Space]
    problems: tuple[str, ...]

    def within(self, telemetry: Telemetry) -> Telemetry:
        """What is known of the node, with this."""
        return replace(telemetry, as_of=self.as_of, pools=self.pools, problems=self.problems)


@dataclass(frozen=True, slots=True)
class Telling(Message, kind="telemetry"):
    telemetry: Telemetry
