"""What libvirt shows of the guests that are Covey's. Blocking: called on the connection's threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt

from covey.base.errors import BadInput, NotFound, Refused
from covey.host.hypervisor import runs
from covey.host.hypervisor.definition import WITHOUT_IO_THREAD, Mark, parse_definition
from covey.host.hypervisor.drift import definition_drift, run_drift
from covey.host.hypervisor.places import GuestFiles
from covey.host.hypervisor.protocol import Usage
from covey.host.hypervisor.runs import Run, Words
from covey.host.hypervisor.xml import LEVELS, MEMORY_BLOCK, NAMESPACE
from covey.model.domain import Domain, DomainNic, Drift, FoundDomain, tap_of
from covey.model.node import Traffic
from covey.model.requests.nic import MOST_NICS
from covey.model.shape import Shape, shape_of

_GONE = (libvirt.VIR_ERR_NO_DOMAIN,)
_INACTIVE = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
_PAUSED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED)
_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: "destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "crashed",
}
_COMING = (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
_LOOKS = 5  # a run's file that changes under our eyes so often belongs to a guest that is being driven elsewhere


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at a guest. `mark` is of the definition; `generation` of what runs; `run` as its file had it, with libvirt's view of
    the same moment beside it. `ending`: the guest has powered off and QEMU is about to go. One that is on its way here from another
    machine is not active: it does not run here before it has all come."""

    mark: Mark
    active: bool
    paused: bool
    ending: bool
    generation: int
    reason: str
    disks: tuple[str, ...]
    nics: tuple[DomainNic, ...]
    live: Shape | None
    run: Run
    words: Words

    @property
    def instance(self) -> str:
        return self.mark.domain.instance

    @property
    def told(self) -> Run:
        """The run as it must be told."""
        return runs.settle(self.run, self.active, self.generation, self.reason, self.words)


def find(connection: Any, instance: str) -> tuple[Any, Mark | None]:
    """libvirt's object and Covey's mark on it; (None, None) when there is none. Raises Refused for a domain without the mark (P4)."""
    try:
        domain = connection.lookupByUUIDString(instance)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _GONE:
            return None, None
        raise
    mark = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if mark is None:
        raise Refused(
            "libvirt has a domain of that UUID which Covey did not make",
            f"instance {instance}",
            f"see `virsh dumpxml {instance}`; undefine it if it is of no use to anybody",
        )
    return domain, mark


def find_mark(connection: Any, instance: str) -> Mark | None:
    return find(connection, instance)[1]


def must_find(connection: Any, instance: str) -> tuple[Any, Mark]:
    """Raises NotFound when there is none, Refused for a foreign one."""
    domain, mark = find(connection, instance)
    if mark is None:
        raise NotFound("the hypervisor has no such domain", f"instance {instance}", "define it first")
    return domain, mark


def read_mark(domain: Any, which: int) -> Mark | None:
    """Covey's mark on the definition (VIR_DOMAIN_AFFECT_CONFIG) or the running guest (AFFECT_LIVE); None when it has none."""
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, which)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_OPERATION_INVALID):
            return (
                None  # no metadata of ours, or (for a running one) ended meanwhile; or it is transient, as Covey never makes one
            )
        raise
    return parse_mark(text)


def parse_mark(text: str) -> Mark | None:
    """None when it is not a mark of Covey's making."""
    element = ElementTree.fromstring(text)  # noqa: S314  (libvirtd wrote it)
    try:
        definition = parse_definition(json.loads(element.text or ""))
        form = int(element.get("form", WITHOUT_IO_THREAD))
        return Mark(int(element.get("generation", "0")), element.get("job", ""), definition, form)
    except (ValueError, BadInput):
        return None


def look(connection: Any, instance: str, run_of: Callable[[str], Run], words_of: Callable[[str], Words]) -> Sighting | None:
    """One guest; None when it is not defined. Raises Refused for a foreign one."""
    domain, mark = find(connection, instance)
    return _look(domain, mark, run_of, words_of) if mark else None


def look_at_all(connection: Any, run_of: Callable[[str], Run], words_of: Callable[[str], Words]) -> tuple[Sighting, ...]:
    sightings = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT):
        try:
            mark = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            if mark and (sighting := _look(domain, mark, run_of, words_of)):
                sightings.append(sighting)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _GONE:
                raise
    return tuple(sorted(sightings, key=lambda sighting: sighting.instance))


def _look(domain: Any, mark: Mark, run_of: Callable[[str], Run], words_of: Callable[[str], Words]) -> Sighting:
    """libvirt's state, between two readings of it and of the run's file: only when both are the same were they of one moment. A guest
    that is just ending could else be told to run and not to run at once."""
    instance = mark.domain.instance
    before = (domain.state(), run_of(instance))
    for _ in range(_LOOKS):
        (state, reason), run = before
        active = state not in _INACTIVE
        live = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE) if active else None
        if live and state == libvirt.VIR_DOMAIN_PAUSED and reason in _COMING and run.awaits(live.generation):
            active, live = False, None
        words = Words() if active else words_of(instance)
        description = domain.XMLDesc(0)
        after = (domain.state(), run_of(instance))
        if after == before:
            break
        before = after
    return Sighting(
        mark=mark,
        active=active,
        paused=state in _PAUSED and not (state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP),
        ending=state == libvirt.VIR_DOMAIN_SHUTDOWN,
        generation=live.generation if live else 0,
        reason=_REASONS.get(reason, "unknown") if state == libvirt.VIR_DOMAIN_SHUTOFF else "unknown",
        disks=volumes(description),
        nics=nics(description, instance),
        live=live_shape(description, live.domain, mark.domain) if live else None,
        run=run,
        words=words,
    )


def drifts(connection: Any, files_of: Callable[[str], GuestFiles]) -> dict[str, Drift]:
    """What other hands changed, of every domain of ours."""
    found = {}
    for domain in connection.listAllDomains():
        mark = _mark_if_there(domain)
        if mark:
            instance = mark.domain.instance
            drift = drift_of(connection, instance, files_of(instance))
            if drift != Drift():
                found[instance] = drift
    return found


def drift_of(connection: Any, instance: str, files: GuestFiles) -> Drift:
    """What other hands changed of one domain; nothing when it is gone."""
    domain, mark = find(connection, instance)
    if mark is None:
        return Drift()
    defined = definition_drift(mark.domain, domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), files, mark.form)
    try:
        live = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE) if domain.isActive() else None
        return Drift(defined, run_drift(live.domain, mark.domain, domain.XMLDesc(0), files, live.form) if live else ())
    except libvirt.libvirtError:
        return Drift(defined)  # it ended meanwhile


def _mark_if_there(domain: Any) -> Mark | None:
    try:
        return read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _GONE:
            return None
        raise


def cpu_models(connection: Any, accelerator: str, machine: str) -> tuple[str, ...]:
    """The CPU models that guests can have here, the levels of the x86-64 ABI among them; none where the accelerator does not work."""
    kind = "kvm" if accelerator == "kvm" else "qemu"
    try:
        text = connection.getDomainCapabilities(None, "x86_64", machine, kind)
    except libvirt.libvirtError:
        return ()
    found = ElementTree.fromstring(text).iterfind("cpu/mode[@name='custom']/model[@usable='yes']")  # noqa: S314
    usable = {model.text or "" for model in found}
    return ("host", *sorted(level for level, model in LEVELS.items() if model in usable), *sorted(usable))


def live_shape(text: str, began: Domain, defined: Domain) -> Shape:
    """What a running guest is, by libvirt's description of it and the definition it `began` with. Memory comes in blocks: what is
    within one of a size that was asked for is that size."""
    description = ElementTree.fromstring(text)  # noqa: S314
    vcpu = description.find("vcpu")
    cpus = int(vcpu.get("current") or vcpu.text or 0) if vcpu is not None else began.cpus
    has = int(description.findtext("currentMemory") or 0) * 1024
    asked = (size for size in (defined.memory, began.memory) if abs(size - has) < MEMORY_BLOCK)
    return replace(shape_of(began), cpus=cpus, memory=next(asked, has))


def volumes(text: str) -> tuple[str, ...]:
    """The volume ids of a domain's disks in index order."""
    found = []
    for disk in ElementTree.fromstring(text).iterfind("devices/disk[@device='disk']"):  # noqa: S314
        target = disk.find("target")
        if target is not None:
            found.append((target.get("dev", ""), volume_of(disk)))
    return tuple(volume for _, volume in sorted(found))


def nics(text: str, instance: str) -> tuple[DomainNic, ...]:
    """A domain's NICs in index order."""
    indexes = {tap_of(instance, index): index for index in range(MOST_NICS)}
    found = []
    for nic in ElementTree.fromstring(text).iterfind("devices/interface[@type='bridge']"):  # noqa: S314
        source, target, link = nic.find("source"), nic.find("target"), nic.find("link")
        index = indexes.get(target.get("dev", "")) if target is not None else None
        if index is not None and source is not None:
            is_up = link is None or link.get("state") != "down"
            found.append(DomainNic(index, mac_of(nic), source.get("bridge", ""), is_up))
    return tuple(sorted(found, key=lambda nic: nic.index))


def mac_of(nic: ElementTree.Element) -> str:
    mac = nic.find("mac")
    return "" if mac is None else mac.get("address", "")


def volume_of(disk: ElementTree.Element) -> str:
    """The id of the volume that a disk is now: its file is named by it. (Its alias stays what it was when the disk was put in.)"""
    source = disk.find("source")
    return "" if source is None else Path(source.get("file") or source.get("dev") or "").stem


def taps(connection: Any, bridge: str) -> tuple[str, ...]:
    """The interfaces of running guests' NICs that belong on a bridge."""
    found = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            text = domain.XMLDesc(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _GONE:
                raise
            continue  # it ended meanwhile
        for nic in ElementTree.fromstring(text).iterfind("devices/interface[@type='bridge']"):  # noqa: S314
            source, target = nic.find("source"), nic.find("target")
            if source is not None and target is not None and source.get("bridge") == bridge:
                found.append(target.get("dev", ""))
    return tuple(sorted(found))


def found_domain(sighting: Sighting, runtime: Path) -> FoundDomain:
    """What domains() tells of a guest."""
    run = sighting.told
    if sighting.active:
        state, reason = ("paused" if sighting.paused else "running"), ""
    else:
        state, reason = ("crashed" if run.how == runs.CRASHED else "stopped"), run.how
    return FoundDomain(
        instance=sighting.instance,
        state=state,
        reason=reason,
        generation=run.generation,
        job=sighting.mark.job,
        pid=read_pid(runtime, sighting.instance) if sighting.active else 0,
        definition=sighting.mark.digest,
        disks=sighting.disks,
        nics=sighting.nics,
        live=sighting.live,
        title=sighting.mark.domain.title,
    )


def read_pid(runtime: Path, instance: str) -> int:
    """QEMU's pid as libvirtd keeps it, 0 when it does not run."""
    try:
        return int((runtime / "qemu" / f"{instance}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def is_active(connection: Any, instance: str) -> bool:
    domain, _ = find(connection, instance)
    return bool(domain is not None and domain.isActive())


def _memory_used(figures: dict[str, int]) -> int:
    """Bytes that the guest uses of its memory: by its own word (the balloon's figures, in KiB) or, while it has not said, what QEMU has
    resident of it. QEMU's own needs, such as TCG's translated code, are not the guest's."""
    if "balloon.available" in figures and "balloon.usable" in figures:
        return (figures["balloon.available"] - figures["balloon.usable"]) * 1024
    current = figures.get("balloon.current", 0)
    return min(figures.get("balloon.rss", current), current) * 1024


def _traffic(figures: dict[str, int]) -> Traffic:
    """All disks and NICs together. libvirt tells of a tap from the guest's side."""

    def total(kind: str, of: str) -> int:
        return sum(figures.get(f"{kind}.{number}.{of}", 0) for number in range(figures.get(f"{kind}.count", 0)))

    return Traffic(
        total("block", "rd.bytes"),
        total("block", "wr.bytes"),
        total("block", "rd.reqs"),
        total("block", "wr.reqs"),
        total("net", "rx.bytes"),
        total("net", "tx.bytes"),
    )


def usage(connection: Any) -> tuple[Usage, ...]:
    """CPU time, memory and traffic of every guest of ours that runs."""
    found = []
    for domain, figures in connection.getAllDomainStats(
        libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
        | libvirt.VIR_DOMAIN_STATS_BALLOON
        | libvirt.VIR_DOMAIN_STATS_BLOCK
        | libvirt.VIR_DOMAIN_STATS_INTERFACE,
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT,
    ):
        try:
            mark = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _GONE:
                continue
            raise
        if mark:
            found.append(Usage(mark.domain.instance, figures.get("cpu.time", 0) / 1e9, _memory_used(figures), _traffic(figures)))
    return tuple(sorted(found, key=lambda one: one.instance))
