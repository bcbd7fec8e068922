"""A running guest's description as another machine is to have it. Pure.

What the guest sees must be the same to the last bit: it is the description that libvirt has of it where it runs, with all that it has
assigned. What lies on the machine is of the other one: files, sockets, and Covey's mark.
"""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from covey.base.errors import NotFound, require
from covey.host.hypervisor.definition import Mark
from covey.host.hypervisor.places import GuestFiles
from covey.host.hypervisor.xml import AGENT_CHANNEL, CDROM_TARGET, NAMESPACE, SEED_TARGET, disk_target, mark_element
from covey.host.storage.protocol import Attachment
from covey.model.domain import READY_CHANNEL, Domain, tap_of

_OF_THE_FORMER = ("backingStore", "mirror", "backenddomain")  # what a disk lies on there; here libvirt looks for itself


def destined(
    text: str, domain: Domain, attachments: dict[str, Attachment], generation: int, files: GuestFiles, file_io: str
) -> str:
    """The description of the guest that runs elsewhere as `text` says, and will here be `domain`, as the start `generation`. Raises
    NotFound for what is not here."""
    root = ElementTree.fromstring(text)  # noqa: S314  (a libvirtd of this cluster wrote it)
    devices = root.find("devices")
    if devices is None:
        raise NotFound("its description has no devices", f"instance {domain.instance}")
    _disks(devices, domain, attachments, file_io)
    _drives(devices, domain, attachments, files)
    _nics(devices, domain)
    _sockets(devices, files)
    nvram = root.find("os/nvram")
    if nvram is not None:
        nvram.text = str(files.nvram)
    _mark(root, domain, generation)
    return ElementTree.tostring(root, encoding="unicode")


def _disks(devices: Element, domain: Domain, attachments: dict[str, Attachment], file_io: str) -> None:
    for disk in domain.disks:
        missing = NotFound(f"the running guest has no disk {disk.index}", f"instance {domain.instance}")
        element = require(devices.find(f"disk/target[@dev='{disk_target(disk.index)}']/.."), missing)
        attachment = attachments[disk.volume.id]
        source, driver = element.find("source"), element.find("driver")
        if source is not None:
            source.attrib.clear()
            source.set("dev" if attachment.kind == "block" else "file", attachment.path)
        if driver is not None:
            driver.set("io", "native" if attachment.kind == "block" else file_io)
        element.set("type", attachment.kind)
        for tag in _OF_THE_FORMER:
            for part in element.findall(tag):
                element.remove(part)


def _nics(devices: Element, domain: Domain) -> None:
    """A network's bridge may have another name there."""
    for nic in domain.nics:
        source = devices.find(f"interface/target[@dev='{tap_of(domain.instance, nic.index)}']/../source")
        if source is not None:
            source.set("bridge", nic.bridge)


def _drives(devices: Element, domain: Domain, attachments: dict[str, Attachment], files: GuestFiles) -> None:
    """CD-ROMs: the ISO, if there is one in the drive, and the seed."""
    for target, path in ((CDROM_TARGET, attachments[domain.iso].path if domain.iso else ""), (SEED_TARGET, str(files.seed))):
        source = devices.find(f"disk[@device='cdrom']/target[@dev='{target}']/../source")
        if source is not None and source.get("file"):
            source.attrib.clear()
            if path:
                source.set("file", path)


def _sockets(devices: Element, files: GuestFiles) -> None:
    for source in (*devices.iterfind("serial[@type='unix']/source"), *devices.iterfind("console[@type='unix']/source")):
        source.set("path", str(files.console))
    for log in (*devices.iterfind("serial/log"), *devices.iterfind("console/log")):
        log.set("file", str(files.console_log))
    for name, path in ((READY_CHANNEL, files.ready), (AGENT_CHANNEL, files.agent)):
        for source in devices.iterfind(f"channel/target[@name='{name}']/../source"):
            source.set("path", str(path))
    for graphics in devices.iterfind("graphics[@type='vnc']"):
        if graphics.get("socket"):
            graphics.set("socket", str(files.vnc))
        for listen in graphics.iterfind("listen[@type='socket']"):
            listen.set("socket", str(files.vnc))


def _mark(root: Element, domain: Domain, generation: int) -> None:
    """Covey's mark: the form and the shape stay those of the run, the disks and NICs are as they are here."""
    from covey.host.hypervisor.sighting import parse_mark

    metadata = root.find("metadata")
    old = metadata.find(f"{{{NAMESPACE}}}domain") if metadata is not None else None
    if metadata is None or old is None:
        raise NotFound("its description does not bear Covey's mark", f"instance {domain.instance}")
    known = parse_mark(ElementTree.tostring(old, encoding="unicode"))
    began = replace(known.domain, disks=domain.disks, nics=domain.nics) if known else domain
    mark = Mark(generation, known.job, began, known.form) if known else Mark(generation, "", began)
    metadata.remove(old)
    metadata.append(mark_element(mark))
