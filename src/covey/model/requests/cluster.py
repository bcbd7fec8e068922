"""Requests on the cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from covey.base.errors import BadInput, check
from covey.model.cluster import Defaults
from covey.model.names import check_line, check_name, check_path, check_text
from covey.model.request import Request
from covey.model.requests.instance import check_machine

ACCELERATORS = ("auto", "kvm", "tcg")
_PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}", re.ASCII)


def check_defaults(defaults: Defaults) -> None:
    """Raises BadInput for defaults no instance could have."""
    check(1 <= defaults.cpus <= 1024, BadInput("must be between 1 and 1024", "defaults.cpus"))
    check(2**20 <= defaults.memory <= 2**44, BadInput("must be between 1M and 16T", "defaults.memory"))
    check(0 <= defaults.stop_graceful_s <= 86400, BadInput("must be between 0 and 1d", "defaults.stop_graceful_s"))
    check(1 <= defaults.ready_timeout_s <= 86400, BadInput("must be between 1s and 1d", "defaults.ready_timeout_s"))
    check(0 <= defaults.crash_restarts <= 1000, BadInput("must be between 0 and 1000", "defaults.crash_restarts"))
    check(1 <= defaults.crash_window_s <= 30 * 86400, BadInput("must be between 1s and 30d", "defaults.crash_window_s"))
    check(0 <= defaults.keep_removed_s <= 366 * 86400, BadInput("must be between 0 and 366d", "defaults.keep_removed_s"))
    check_machine(defaults.machine, "defaults.machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class InitCluster(Request, kind="cluster.init"):
    """Make a cluster of this one machine, with a first pool "default"."""

    name: str
    accelerator: str = "auto"
    mac_prefix: str = "02:c0:7e"
    pool_path: str = ""  # "" for the state directory's own
    node_name: str = ""  # "" for the machine's host name
    defaults: Defaults = field(default_factory=Defaults)
    prove_timeout_s: float = 10.0

    def check(self) -> None:
        check_name(self.name, "name")
        check(
            self.accelerator in ACCELERATORS,
            BadInput(f"{self.accelerator[:40]!r} is no accelerator", "accelerator", "use auto, kvm or tcg"),
        )
        check(
            _PREFIX.fullmatch(self.mac_prefix) and int(self.mac_prefix[:2], 16) & 3 == 2,
            BadInput(
                f"{self.mac_prefix[:40]!r} is no prefix for locally made MAC addresses",
                "mac_prefix",
                "three bytes, the first one such as 02, 06, 0a or 0e: 02:c0:7e",
            ),
        )
        if self.pool_path:
            check_path(self.pool_path, "pool_path")
        if self.node_name:
            check_name(self.node_name, "node_name")
        check(1 <= self.prove_timeout_s <= 300, BadInput("must be between 1 and 300 seconds", "prove_timeout_s"))
        check_defaults(self.defaults)

    @property
    def title(self) -> str:
        return f"cluster init {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyCluster(Request, kind="cluster.modify"):
    """Change the cluster's name, notes or defaults; None leaves a field as it is."""

    name: str | None = None
    notes: str | None = None
    defaults: Defaults | None = None

    def check(self) -> None:
        if self.name is not None:
            check_name(self.name, "name")
        if self.notes is not None:
            check_text(self.notes, "notes")
        if self.defaults is not None:
            check_defaults(self.defaults)


def check_reason(reason: str) -> str:
    """A job's `--reason`. Raises BadInput."""
    return check_line(reason, "reason")


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A domain that a node has, as `cluster reconcile` found it: `node` is that node's id."""

    node: str
    instance: str
    title: str
    state: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileCluster(Request, kind="cluster.reconcile"):
    """Raise the records to what runs, after they were brought back; then the cluster works as usual. Nodes that are silent are declared
    dead by name, in `without`. `found` (what runs, and what no record names) and `answered` (ids of nodes) are filled in."""

    without: tuple[str, ...] = ()
    because: str = ""
    found: tuple[FoundRun, ...] = ()
    answered: tuple[str, ...] = ()

    def check(self) -> None:
        for name in self.without:
            check_name(name, "without")
        check_line(self.because, "because")
        check(
            self.because or not self.without,
            BadInput("say why these nodes are dead", "because", "such as: --because 'its disk is broken'"),
        )
