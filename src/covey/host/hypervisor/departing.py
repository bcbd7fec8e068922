"""A guest that leaves this machine while it runs, and one that comes. Blocking: called on threads of their own.

Whoever asks libvirt is its client at both ends (no peer-to-peer), so that nothing but Covey decides what happens when the way between the
machines breaks. A client that dies between the two leaves the guest paused where it was.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt

from covey.base.errors import Refused, check
from covey.host.hypervisor.sighting import find, must_find
from covey.host.hypervisor.xml import disk_target
from covey.host.migration.protocol import Moved, Wish

# As QEMU and libvirtd see it: a directory of each private libvirtd's own lies over it, so both ends have the same names for their sockets.
SEEN_AS = Path("/run/libvirt/covey")
_MEBIBYTE = 2**20
_ARRIVING = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)


@dataclass(frozen=True, slots=True)
class Doors:
    """The sockets of one guest's move, below the directory that QEMU sees as SEEN_AS."""

    directory: Path
    name: str

    @property
    def control(self) -> Path:
        return self.directory / f"{self.name}.ctl"

    @property
    def memory(self) -> Path:
        return self.directory / f"{self.name}.ram"

    @property
    def disks(self) -> Path:
        return self.directory / f"{self.name}.nbd"

    def seen(self, path: Path) -> str:
        return f"unix://{SEEN_AS / path.name}"


def doors_of(runtime: Path, instance: str) -> Doors:
    return Doors(runtime / SEEN_AS.name, instance.replace("-", "")[:12])


def describe(connection: Any, instance: str) -> tuple[str, str]:
    """A running guest, and this machine's processor. Raises NotFound, Refused when it does not run."""
    domain, _ = must_find(connection, instance)
    check(
        domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING,
        Refused("it does not run, or is paused", f"instance {instance}", "see: covey instance info"),
    )
    processor = ElementTree.fromstring(connection.getCapabilities()).find("host/cpu")  # noqa: S314
    return (
        domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE),
        "" if processor is None else ElementTree.tostring(processor, encoding="unicode"),
    )


def check_processor(connection: Any, description: str, processor: str, instance: str) -> None:
    """Raises Refused for a guest whose processor this machine cannot go on with. What libvirt cannot compare it checks when it
    comes, before anything has stopped."""
    root = ElementTree.fromstring(description)  # noqa: S314
    cpu = root.find("cpu")
    if cpu is None or cpu.get("mode") == "maximum":
        return
    passed_through = cpu.get("mode") == "host-passthrough"
    with contextlib.suppress(libvirt.libvirtError):
        if passed_through:
            verdict = connection.compareCPU(processor, 0)
        else:
            machine = root.find("os/type")
            verdict = connection.compareHypervisorCPU(
                None,
                "x86_64",
                machine.get("machine") if machine is not None else None,
                root.get("type"),
                ElementTree.tostring(cpu, encoding="unicode"),
                0,
            )
        check(
            verdict != libvirt.VIR_CPU_COMPARE_INCOMPATIBLE,
            Refused(
                "its processor has what this machine's lacks",
                f"instance {instance}",
                "give it a model that both have, and start it anew: covey instance modify --cpu-model",
            ),
        )


def migrate(uri: str, there: str, instance: str, doors: Doors, description: str, wish: Wish) -> None:
    """Move it, from its first byte to its end here. `there` is the other libvirtd. Raises libvirtError; where it runs then, must be
    looked at."""
    here = libvirt.open(uri)
    try:
        other = libvirt.open(there)
        try:
            domain, _ = must_find(here, instance)
            domain.migrate3(other, _parameters(doors, description, wish), _flags(wish))
        finally:
            _close(other)
    finally:
        _close(here)


def _flags(wish: Wish) -> int:
    flags: int = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    if wish.disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK if wish.whole else libvirt.VIR_MIGRATE_NON_SHARED_INC
    else:
        flags |= (
            libvirt.VIR_MIGRATE_UNSAFE
        )  # cache=none on a directory that both machines have: which, Covey knows and libvirt cannot
    if wish.slows_guest:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    return flags


def _parameters(doors: Doors, description: str, wish: Wish) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: doors.seen(doors.memory),
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: description,
    }
    if wish.disks:
        parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = doors.seen(doors.disks)
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = [disk_target(index) for index in wish.disks]
    if wish.bandwidth:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, wish.bandwidth // _MEBIBYTE)
    return parameters


def limit_downtime(connection: Any, instance: str, seconds: float) -> bool:
    """Whether the limit is set: libvirt takes it only once the move is under way."""
    domain, _ = find(connection, instance)
    if domain is None:
        return True
    try:
        domain.migrateSetMaxDowntime(max(1, int(seconds * 1000)))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return False
    return True


def progress(connection: Any, instance: str) -> dict[str, Any]:
    """Figures of the move under way, {} when there is none."""
    domain, _ = find(connection, instance)
    if domain is None:
        return {}
    try:
        figures: dict[str, Any] = domain.jobStats()
    except libvirt.libvirtError:
        return {}
    return figures if figures.get("type") == libvirt.VIR_DOMAIN_JOB_UNBOUNDED else {}


def outcome(connection: Any, instance: str) -> dict[str, Any]:
    """Figures of the move that is over, {} when there are none any more."""
    domain, _ = find(connection, instance)
    try:
        return dict(domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)) if domain is not None else {}
    except libvirt.libvirtError:
        return {}


def moved(figures: dict[str, Any]) -> Moved:
    return Moved(int(figures.get("data_processed", 0)), figures.get("time_elapsed", 0) / 1000, figures.get("downtime", 0) / 1000)


def abort(connection: Any, instance: str) -> None:
    """Give the move up, if there is one that can be."""
    domain, _ = find(connection, instance)
    if domain is not None:
        with contextlib.suppress(libvirt.libvirtError):
            domain.abortJob()


def is_frozen(connection: Any, instance: str) -> bool:
    """Whether it stands still here, as one does whose memory has gone."""
    domain, _ = find(connection, instance)
    return domain is not None and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED


def is_arriving(connection: Any, instance: str) -> bool:
    """Whether it is here, but has not begun to run: then its other end decides."""
    domain, _ = find(connection, instance)
    if domain is None:
        return False
    state, reason = domain.state()
    return state == libvirt.VIR_DOMAIN_PAUSED and reason in _ARRIVING


def _close(connection: Any) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        connection.close()
