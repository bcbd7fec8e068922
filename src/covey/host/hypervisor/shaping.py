"""Changing what a running guest has of CPUs and memory. Blocking: called on the connection's threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import libvirt

from covey.host.hypervisor.orders import failure, write_live_mark
from covey.host.hypervisor.sighting import find, read_mark
from covey.host.hypervisor.xml import CDROM_TARGET, MEMORY_BLOCK
from covey.model.shape import Shape


def reshape(connection: Any, instance: str, has: Shape, wanted: Shape, title: str, iso: str) -> None:
    """Plug CPUs in, ask the guest to take memory or to give it back, change what is in its CD-ROM drive (`iso` is the path). Raises NoSpace, StepFailed."""
    domain, _ = find(connection, instance)
    if domain is None:
        return
    try:
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title, None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if wanted.iso != has.iso:
            _change_disc(domain, wanted.iso, iso)
        if wanted.cpus > has.cpus:
            domain.setVcpusFlags(wanted.cpus, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        if wanted.memory != has.memory:
            _ask_for_memory(domain, wanted.memory)
    except libvirt.libvirtError as error:
        raise failure(error, "the running guest cannot be changed", f"instance {instance}") from error


def has_memory(connection: Any, instance: str, wanted: Shape) -> bool:
    """Whether the guest has taken, or given, what it was asked for; so it has when it runs no more."""
    domain, _ = find(connection, instance)
    if domain is None or not domain.isActive():
        return True
    has = int(_describe(domain).findtext("currentMemory") or 0) * 1024
    return abs(has - wanted.memory) < MEMORY_BLOCK


def _ask_for_memory(domain: Any, memory: int) -> None:
    """By virtio-mem, where the guest began with a maximum; else by the balloon."""
    description = _describe(domain)
    device = description.find("devices/memory[@model='virtio-mem']")
    if device is None:
        domain.setMemoryFlags(memory // 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return
    own = sum(int(cell.get("memory", "0")) for cell in description.iterfind("cpu/numa/cell")) * 1024
    size, requested = (device.find(f"target/{tag}") for tag in ("size", "requested"))
    if size is not None and requested is not None:
        blocks = -(-max(0, memory - own) // MEMORY_BLOCK) * MEMORY_BLOCK // 1024
        requested.text = str(min(blocks, int(size.text or 0)))
        domain.updateDeviceFlags(ElementTree.tostring(device, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _change_disc(domain: Any, image: str, path: str) -> None:
    """Also with the guest's door locked: it was asked for by whoever owns the machine."""
    drive = _describe(domain).find(f"devices/disk[@device='cdrom']/target[@dev='{CDROM_TARGET}']/..")
    if drive is None:
        return
    source = drive.find("source")
    if source is not None:
        drive.remove(source)
    if path:
        ElementTree.SubElement(drive, "source", file=path)
    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
    domain.updateDeviceFlags(ElementTree.tostring(drive, encoding="unicode"), flags)
    mark = read_mark(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    if mark:
        write_live_mark(domain, replace(mark, domain=replace(mark.domain, iso=image)))


def _describe(domain: Any) -> ElementTree.Element:
    return ElementTree.fromstring(domain.XMLDesc(0))  # noqa: S314  (libvirtd wrote it)
