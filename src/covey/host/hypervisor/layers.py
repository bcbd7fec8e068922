"""Orders to libvirt on layers of a running guest's disks. Blocking: called on the connection's threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from covey.base.errors import Refused, StepFailed, check
from covey.host.formats import find_backing
from covey.host.hypervisor.orders import describe_live, failure, find_disk
from covey.host.hypervisor.sighting import find, must_find
from covey.host.hypervisor.xml import AGENT_CHANNEL, disk_target
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain

AGENT_LIMIT_S = 10  # what a guest's agent gets to bring its file systems to rest
_ALL_AT_ONCE = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
)


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge as the running guest has it: whether it reads from the upper and the lower file, whether QEMU is `busy` with it, and
    whether all that is left is to let go of the upper one (`ready`). `done` of `total` bytes are written."""

    has_top: bool
    has_base: bool
    busy: bool
    ready: bool
    done: int
    total: int


def overlay(connection: Any, wanted: Domain, attachments: dict[str, Attachment]) -> bool:
    """Let a running guest go on with the disks of `wanted`, all from one moment on; nothing to do for one that is stopped. Returns
    whether its file systems were at rest. Raises NotFound, Refused, StepFailed."""
    domain, _ = must_find(connection, wanted.instance)
    if not domain.isActive():
        return True
    live = describe_live(domain)
    pending = {}
    for disk in wanted.disks:
        path, present = attachments[disk.volume.id].path, chain(live, disk.index)
        if present and present[0] != path:
            check(
                find_backing(Path(path)) == present[0],
                Refused(
                    f"disk {disk.index} of the running guest is {present[0]}, on which {path} does not lie",
                    f"instance {wanted.instance}",
                ),
            )
            pending[disk_target(disk.index)] = attachments[disk.volume.id]
    if not pending:
        _thaw(domain, live)  # an earlier try may have died before it could
        return False
    with _at_rest(domain, live) as rests:
        try:
            domain.snapshotCreateXML(_render(live, pending), _ALL_AT_ONCE)
        except libvirt.libvirtError as error:
            raise failure(error, "its disks cannot be frozen", f"instance {wanted.instance}") from error
    return rests


def _render(live: Element, pending: dict[str, Attachment]) -> str:
    root = Element("domainsnapshot")
    disks = SubElement(root, "disks")
    for target in live.iterfind("devices/disk/target"):
        name = target.get("dev", "")
        attachment = pending.get(name)
        if attachment is None:
            SubElement(disks, "disk", name=name, snapshot="no")
            continue
        disk = SubElement(disks, "disk", name=name, snapshot="external", type=attachment.kind)
        SubElement(disk, "driver", type=attachment.format)
        SubElement(disk, "source", {"dev" if attachment.kind == "block" else "file": attachment.path})
    return ElementTree.tostring(root, encoding="unicode")


@contextmanager
def _at_rest(domain: Any, live: Element) -> Iterator[bool]:
    """The guest's file systems are at rest within, if its agent answers: that is what is yielded."""
    rests = False
    if _agent_answers(live):
        try:
            domain.agentSetResponseTimeout(AGENT_LIMIT_S)
            domain.fsFreeze()
            rests = True
        except libvirt.libvirtError:
            pass  # then as after a power cut; that is what the answer says
    try:
        yield rests
    finally:
        _thaw(domain, live)


def _thaw(domain: Any, live: Element) -> None:
    if _agent_answers(live):
        try:
            domain.fsThaw()
        except libvirt.libvirtError:
            pass  # the agent is gone, or nothing was frozen


def _agent_answers(live: Element) -> bool:
    channel = live.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']")
    return channel is not None and channel.get("state") == "connected"


def chain(live: Element, index: int) -> list[str]:
    """The files of a disk from the top down; none when there is no such disk."""
    found: list[str] = []
    part = find_disk(live, index)
    while part is not None:
        source = part.find("source")
        if source is not None:
            found.append(source.get("file") or source.get("dev") or "")
        part = part.find("backingStore")
    return found


def look_at_merge(connection: Any, instance: str, index: int, top: str, base: str) -> Merge | None:
    """None when no running guest has that disk. The job is looked at before the files: when it is over, they are what it left."""
    domain, _ = find(connection, instance)
    if domain is None or not domain.isActive() or find_disk(describe_live(domain), index) is None:
        return None
    job = domain.blockJobInfo(disk_target(index), 0)
    live = describe_live(domain)
    files = chain(live, index)
    mirror = live.find(f"devices/disk/target[@dev='{disk_target(index)}']/../mirror")
    ready = mirror is not None and mirror.get("ready") == "yes"
    return Merge(top in files, base in files, bool(job), ready, int(job.get("cur", 0)), int(job.get("end", 0)))


def begin_merge(connection: Any, instance: str, index: int, top: str, base: str) -> None:
    """Have QEMU write what `top` holds into `base`. Raises NotFound, StepFailed."""
    domain, _ = must_find(connection, instance)
    target = disk_target(index)
    files = chain(describe_live(domain), index)
    check(
        (top, base) in pairwise(files),
        StepFailed(f"{top} does not lie on {base} in the running guest", f"instance {instance}", "see: covey cluster verify"),
    )
    active = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE if files[0] == top else 0
    try:
        domain.blockCommit(target, base, top, 0, active)
    except libvirt.libvirtError as error:
        raise failure(error, f"layers of disk {index} cannot be merged", f"instance {instance}") from error


@dataclass(frozen=True, slots=True)
class Pull:
    """A disk that takes in what it lies on, as the running guest has it. `done` of `total` bytes are looked through."""

    is_flat: bool
    busy: bool
    done: int
    total: int


def look_at_pull(connection: Any, instance: str, index: int, path: str) -> Pull | None:
    """None when no running guest has that file as that disk. The job is looked at before the files, as in `look_at_merge`."""
    domain, _ = find(connection, instance)
    if domain is None or not domain.isActive() or chain(describe_live(domain), index)[:1] != [path]:
        return None
    job = domain.blockJobInfo(disk_target(index), 0)
    is_flat = chain(describe_live(domain), index) == [path]
    return Pull(is_flat, bool(job), int(job.get("cur", 0)), int(job.get("end", 0)))


def begin_pull(connection: Any, instance: str, index: int) -> None:
    """Have QEMU write into the disk's file all that lies below. Raises NotFound, StepFailed."""
    domain, _ = must_find(connection, instance)
    try:
        domain.blockPull(disk_target(index), 0, 0)
    except libvirt.libvirtError as error:
        raise failure(error, f"disk {index} cannot take in what it lies on", f"instance {instance}") from error


def let_go_of_top(connection: Any, instance: str, index: int, text: str) -> None:
    """Let the guest go on with the lower file alone. It is halted for the moment in which that is written down in its definition
    (`text`), so that after a power cut the definition never names a file that lacks what the guest had been promised. Raises StepFailed."""
    domain, _ = must_find(connection, instance)
    halted = domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    try:
        if halted:
            domain.suspend()
        try:
            domain.blockJobAbort(disk_target(index), libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
            connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        finally:
            if halted:
                domain.resume()
    except libvirt.libvirtError as error:
        raise failure(error, f"the merged layer of disk {index} is not let go", f"instance {instance}") from error
