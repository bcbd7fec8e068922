"""Orders to libvirt, each for one guest and each to be given twice without harm. Blocking: called on the connection's threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import libvirt

from covey.base.errors import CoveyError, NoSpace, NotFound, Refused, StepFailed, check, require
from covey.host.hypervisor.definition import Mark, with_disk, with_nic, without_disk, without_nic
from covey.host.hypervisor.file_io import find_file_io
from covey.host.hypervisor.sighting import find, mac_of, must_find, read_mark, volume_of
from covey.host.hypervisor.xml import NAMESPACE, disk_target, render_disk, render_mark, render_nic
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain, DomainDisk, DomainNic, tap_of

_LOCKED = 'Failed to get "write" lock'  # QEMU's words
_NO_MEMORY = ("cannot allocate memory", "cannot set up guest memory", "out of memory")
_NO_ROOM = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True, slots=True)
class Device:
    """What can be plugged into a guest: how people call it, where it is in a description, and the definition without it."""

    title: str
    path: str
    forgotten: Callable[[Domain], Domain]


def disk_device(index: int) -> Device:
    path = f"devices/disk/target[@dev='{disk_target(index)}']/.."
    return Device(f"disk {index}", path, lambda domain: without_disk(domain, index))


def nic_device(instance: str, index: int) -> Device:
    path = f"devices/interface/target[@dev='{tap_of(instance, index)}']/.."
    return Device(f"NIC {index}", path, lambda domain: without_nic(domain, index))


_LIVE, _CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


def failure(error: Any, what: str, object: object) -> CoveyError:
    """libvirt's refusal as an error of ours: want of memory or space as NoSpace, all else as StepFailed with its own words."""
    words = str(error.get_error_message() or error)
    if any(sign in words.lower() for sign in _NO_MEMORY):
        return NoSpace(f"this machine has no memory for it: {words}", object, "use a smaller --memory, or stop another instance")
    if any(sign in words.lower() for sign in _NO_ROOM):
        return NoSpace(f"{what}: {words}", object, "make room where the file is")
    in_use = _LOCKED in words
    return StepFailed(
        f"{what}: {words}", object, "if it is being exported, wait for that; else see who has its disk open" if in_use else ""
    )


def define(connection: Any, instance: str, text: str) -> None:
    """Raises Refused when a foreign domain has taken the name."""
    try:
        connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    except libvirt.libvirtError as error:
        if "already exists with uuid" in str(error):
            raise Refused(
                f"libvirt has a domain of that name which Covey did not make: {error}", f"instance {instance}"
            ) from error
        raise failure(error, "libvirt does not take the definition", f"instance {instance}") from error


def undefine(connection: Any, instance: str, job: str) -> bool:
    """Returns false for a domain that another job defined. Raises Refused while it runs."""
    domain, mark = find(connection, instance)
    if mark is None:
        return True
    if job and mark.job != job:
        return False
    check(not domain.isActive(), Refused("it runs, and is not removed while it does", f"instance {instance}", "stop it first"))
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    return True


def start(connection: Any, instance: str, generation: int) -> None:
    """Start the guest as `generation`: written into the definition first, of which the running guest keeps a copy.
    Raises NotFound, NoSpace, StepFailed."""
    domain, mark = must_find(connection, instance)
    try:
        _write_mark(domain, replace(mark, generation=generation))
        domain.create()
    except libvirt.libvirtError as error:
        raise failure(error, "it does not start", f"instance {instance}") from error


def resume(connection: Any, instance: str) -> None:
    """Let a paused guest run on: paused by hand, by its power management, or because its pool was full. Raises NotFound, StepFailed."""
    domain, _ = must_find(connection, instance)
    try:
        if domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup()
        else:
            domain.resume()
    except libvirt.libvirtError as error:
        raise failure(error, "it is paused and does not run on", f"instance {instance}") from error


def press_button(connection: Any, instance: str) -> None:
    """The ACPI power button."""
    domain, _ = find(connection, instance)
    if domain is None:
        return
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it ended meanwhile
            raise failure(error, "its power button cannot be pressed", f"instance {instance}") from error


def cut(connection: Any, instance: str) -> None:
    """End QEMU: by SIGTERM, so that it flushes what it holds, then by SIGKILL. Raises StepFailed when it does not end."""
    domain, _ = find(connection, instance)
    if domain is None:
        return
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise failure(error, "its QEMU does not end", f"instance {instance}") from error


def attach_disk(connection: Any, instance: str, disk: DomainDisk, attachment: Attachment) -> None:
    """Raises NotFound, Refused for an index in use otherwise, StepFailed."""
    domain, mark = must_find(connection, instance)
    wanted = with_disk(mark.domain, disk)
    for which, known in _definitions(domain):
        present = known.find(disk_device(disk.index).path)
        check(
            present is None or volume_of(present) == disk.volume.id,
            Refused(f"its {disk_target(disk.index)} is another volume", f"instance {instance}", "detach that one first"),
        )
        if present is None:
            began = read_mark(domain, which) or mark
            text = render_disk(disk, attachment, find_file_io(), began.has_io_thread)
            _attach(domain, text, which, f"disk {disk.index}", instance)
    _write_mark(domain, replace(mark, domain=wanted))


def attach_nic(connection: Any, instance: str, nic: DomainNic) -> None:
    """Raises NotFound, Refused for an index in use otherwise, StepFailed."""
    domain, mark = must_find(connection, instance)
    wanted = with_nic(mark.domain, nic)
    for which, known in _definitions(domain):
        present = known.find(nic_device(instance, nic.index).path)
        check(
            present is None or mac_of(present) == nic.mac,
            Refused(f"its NIC {nic.index} is another one", f"instance {instance}", "detach that one first"),
        )
        if present is None:
            _attach(domain, render_nic(instance, nic), which, f"NIC {nic.index}", instance)
    _write_mark(domain, replace(mark, domain=wanted))


def set_nic(connection: Any, instance: str, nic: DomainNic) -> None:
    """Raises NotFound, StepFailed."""
    domain, mark = must_find(connection, instance)
    for which, known in _definitions(domain):
        present = require(
            known.find(nic_device(instance, nic.index).path),
            NotFound(f"it has no NIC {nic.index}", f"instance {instance}", "see: covey cluster verify"),
        )
        if _set(present, nic):
            try:
                domain.updateDeviceFlags(ElementTree.tostring(present, encoding="unicode"), which)
            except libvirt.libvirtError as error:
                raise failure(error, f"NIC {nic.index} cannot be changed", f"instance {instance}") from error
    _write_mark(domain, replace(mark, domain=with_nic(mark.domain, nic)))


def _set(element: ElementTree.Element, nic: DomainNic) -> bool:
    """Make a NIC's description say what `nic` says. Returns whether anything was otherwise."""
    before = ElementTree.tostring(element)
    source, link = element.find("source"), element.find("link")
    if source is not None:
        source.set("bridge", nic.bridge)
    if link is None:
        link = ElementTree.SubElement(element, "link", state="up")
        before = ElementTree.tostring(element)
    link.set("state", "up" if nic.up else "down")
    return ElementTree.tostring(element) != before


def _attach(domain: Any, text: str, which: int, title: str, instance: str) -> None:
    try:
        domain.attachDeviceFlags(text, which)
    except libvirt.libvirtError as error:
        if "No more available PCI slots" in str(error):
            raise Refused(
                "every free port of the running guest is used up",
                f"instance {instance}",
                f"stop and start it, then add the {title.partition(' ')[0]}",
            ) from error
        raise failure(error, f"{title} cannot be attached", f"instance {instance}") from error


def ask_to_let_go(connection: Any, instance: str, device: Device) -> bool:
    """Ask a running guest to give up a device. Returns whether it has none such (any more)."""
    domain, mark = find(connection, instance)
    if mark is None or not domain.isActive():
        return True
    present = _describe(domain, _LIVE).find(device.path)
    if present is None:
        return True
    try:
        domain.detachDeviceFlags(ElementTree.tostring(present, encoding="unicode"), _LIVE)
    except libvirt.libvirtError as error:
        pending = "in the process of unplug" in str(error)
        over = error.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_DEVICE_MISSING)
        if not pending and not over:
            raise failure(error, f"{device.title} cannot be detached", f"instance {instance}") from error
    return has_let_go(connection, instance, device)


def has_let_go(connection: Any, instance: str, device: Device) -> bool:
    domain, mark = find(connection, instance)
    return mark is None or not domain.isActive() or _describe(domain, _LIVE).find(device.path) is None


def detach_from_definition(connection: Any, instance: str, device: Device) -> None:
    """Raises StepFailed."""
    domain, mark = find(connection, instance)
    if mark is None:
        return
    present = _describe(domain, _CONFIG).find(device.path)
    if present is not None:
        try:
            domain.detachDeviceFlags(ElementTree.tostring(present, encoding="unicode"), _CONFIG)
        except libvirt.libvirtError as error:
            raise failure(error, f"{device.title} cannot be detached", f"instance {instance}") from error
    _write_mark(domain, replace(mark, domain=device.forgotten(mark.domain)))


def resize(connection: Any, instance: str, index: int, size: int) -> bool:
    """Whether a guest runs, which then has that size. Raises NotFound for a disk that a running guest does not have, NoSpace, StepFailed."""
    domain, mark = find(connection, instance)
    if mark is None:
        return False
    active = bool(domain.isActive())
    if active:
        if _describe(domain, _LIVE).find(disk_device(index).path) is None:
            raise NotFound(f"the running guest has no disk {index}", f"instance {instance}")
        target = disk_target(index)
        try:
            if domain.blockInfo(target)[0] < size:
                domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        except libvirt.libvirtError as error:
            raise failure(error, f"disk {index} cannot be grown to {size} bytes", f"instance {instance}") from error
    for disk in mark.domain.disks:
        if disk.index == index and disk.volume.size < size:
            grown = replace(disk, volume=replace(disk.volume, size=size))
            _write_mark(domain, replace(mark, domain=with_disk(mark.domain, grown)))
    return active


def write_live_mark(domain: Any, mark: Mark) -> None:
    """What the run under way is, by Covey's account."""
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, render_mark(mark), "covey", NAMESPACE, _LIVE)


def _write_mark(domain: Any, mark: Mark) -> None:
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, render_mark(mark), "covey", NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    )


def _definitions(domain: Any) -> list[tuple[int, ElementTree.Element]]:
    """What there is of the domain: its definition, and what runs if it does."""
    which = [_CONFIG, _LIVE] if domain.isActive() else [_CONFIG]
    return [(flag, _describe(domain, flag)) for flag in which]


def _describe(domain: Any, which: int) -> ElementTree.Element:
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if which == _CONFIG else 0)
    return ElementTree.fromstring(text)  # noqa: S314  (libvirtd wrote it)


def describe_live(domain: Any) -> ElementTree.Element:
    return _describe(domain, _LIVE)


def find_disk(description: ElementTree.Element, index: int) -> ElementTree.Element | None:
    return description.find(f"devices/disk/target[@dev='{disk_target(index)}']/..")
