"""A Domain as libvirt's XML. Pure: the same values give the same text."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from covey.base.errors import BadInput, NotFound, check, require
from covey.host.hypervisor.definition import Mark, definition_text
from covey.host.hypervisor.places import GuestFiles
from covey.host.storage.protocol import Attachment
from covey.model.domain import READY_CHANNEL, Domain, DomainDisk, DomainNic

NAMESPACE = "urn:covey:domain:1"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
ALIAS = "ua-"  # libvirt takes device names of ours only with this prefix
SPARE_PORTS = 8  # PCI Express ports left free, so that as many disks can be added while the guest runs
OWN_PORTS = 3  # virtio-serial, balloon and random numbers
LARGEST_DISK_INDEX = 25  # vda .. vdz

# Nehalem is x86-64-v2, fixed in meaning whatever QEMU's version (a guest keeps its CPU over an upgrade and a migration), and booted a
# Debian fastest of the models tried under TCG; `max` means something else in each QEMU.
TCG_CPU = "Nehalem"

ElementTree.register_namespace("covey", NAMESPACE)


def render_domain(domain: Domain, attachments: dict[str, Attachment], generation: int, job: str, files: GuestFiles) -> str:
    """The XML of `domain`. Raises BadInput for an accelerator, index or volume without attachment that cannot be."""
    check(
        domain.accelerator in ("kvm", "tcg"),
        BadInput(f"{domain.accelerator!r} is no accelerator", f"instance {domain.instance}", "use kvm or tcg"),
    )
    root = Element("domain", type="kvm" if domain.accelerator == "kvm" else "qemu")
    _text(root, "name", domain.instance)
    _text(root, "uuid", domain.instance)
    _text(root, "title", printable(domain.title))
    SubElement(root, "metadata").append(mark_element(Mark(generation, job, domain)))
    _text(root, "memory", str(-(-domain.memory // 1024)), unit="KiB")
    _text(root, "vcpu", str(domain.cpus))
    _text(SubElement(root, "os"), "type", "hvm", arch="x86_64", machine=domain.machine)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    SubElement(features, "vmport", state="off")
    _cpu(root, domain)
    _clock(root)
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(root, event, action)
    devices = SubElement(root, "devices")
    _text(devices, "emulator", "/usr/bin/qemu-system-x86_64")
    _ports(devices, domain)
    for disk in sorted(domain.disks, key=lambda known: known.index):
        devices.append(
            disk_element(
                disk,
                _attachment(f"volume {disk.volume.id} of disk {disk.index}", disk.volume.id, attachments, domain),
                boot_order(disk, domain),
            )
        )
    # Installers of every system find a SATA drive; the kernels of Debian's cloud images have no driver for one, but for virtio's.
    if domain.iso:
        _cdrom(devices, "sda", "sata", _attachment(f"CD-ROM {domain.iso}", domain.iso, attachments, domain).path, boot_order=1)
    if domain.seed:
        SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
        _cdrom(devices, "sdb", "scsi", str(files.seed))
    for nic in sorted(domain.nics, key=lambda known: known.index):
        _nic(devices, nic)
    _channels(devices, files)
    _small_devices(devices, files)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def mark_element(mark: Mark) -> Element:
    """Covey's <metadata>: one element without children, because libvirt gives its namespace to the outermost only."""
    element = Element(f"{{{NAMESPACE}}}domain", generation=str(mark.generation), job=mark.job, digest=mark.digest)
    element.text = definition_text(mark.domain)
    return element


def render_mark(mark: Mark) -> str:
    """The mark as virDomainSetMetadata takes it: without a namespace, which is an argument of its own there."""
    element = mark_element(mark)
    element.tag = "domain"
    return ElementTree.tostring(element, encoding="unicode")


def disk_target(index: int) -> str:
    """vda for 0. Raises BadInput beyond vdz."""
    check(0 <= index <= LARGEST_DISK_INDEX, BadInput(f"there is no disk {index}", "", f"disks are 0 to {LARGEST_DISK_INDEX}"))
    return f"vd{chr(ord('a') + index)}"


def disk_serial(volume: str) -> str:
    """What the guest sees in /dev/disk/by-id: the first 20 hex digits of the UUID, as virtio has room for 20 bytes."""
    return volume.replace("-", "")[:20]


def boot_order(disk: DomainDisk, domain: Domain) -> int:
    """The first disk boots, after the CD-ROM if there is one; 0 for the others."""
    first = min(known.index for known in domain.disks) if domain.disks else 0
    return 0 if disk.index != first else 2 if domain.iso else 1


def disk_element(disk: DomainDisk, attachment: Attachment, boot: int = 0) -> Element:
    """One disk. cache=none: what the guest flushed is on the medium, and another machine sees it. error_policy=enospace: a full pool
    pauses the guest where it stands in place of handing it errors that would ruin its file system."""
    element = Element("disk", type=attachment.kind, device="disk")
    SubElement(
        element,
        "driver",
        name="qemu",
        type=attachment.format,
        cache="none",
        # Linux' native AIO blocks the whole guest where a file must first be given room; a device never must.
        io="native" if attachment.kind == "block" else "threads",
        discard="unmap",
        error_policy="enospace",
    )
    SubElement(element, "source", {"dev" if attachment.kind == "block" else "file": attachment.path})
    SubElement(element, "target", dev=disk_target(disk.index), bus="virtio")
    _text(element, "serial", disk_serial(disk.volume.id))
    SubElement(element, "alias", name=ALIAS + disk.volume.id)
    if boot:
        SubElement(element, "boot", order=str(boot))
    return element


def render_disk(disk: DomainDisk, attachment: Attachment) -> str:
    """One disk as virDomainAttachDevice takes it."""
    return ElementTree.tostring(disk_element(disk, attachment), encoding="unicode")


def printable(title: str) -> str:
    """A title that XML and libvirt take: control characters and line ends become U+FFFD."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in title)


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _attachment(what: str, id: str, attachments: dict[str, Attachment], domain: Domain) -> Attachment:
    return require(attachments.get(id), NotFound(f"nothing says how to open {what}", f"instance {domain.instance}"))


def _cpu(root: Element, domain: Domain) -> None:
    if domain.accelerator == "kvm":
        SubElement(root, "cpu", mode="host-passthrough", check="none", migratable="on")
        return
    cpu = SubElement(root, "cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", TCG_CPU, fallback="forbid")


def _clock(root: Element) -> None:
    clock = SubElement(root, "clock", offset="utc")
    SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    SubElement(clock, "timer", name="pit", tickpolicy="delay")
    SubElement(clock, "timer", name="hpet", present="no")


def _ports(devices: Element, domain: Domain) -> None:
    """PCI Express takes devices while it runs only in ports that were there from the start."""
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(len(domain.disks) + len(domain.nics) + domain.seed + OWN_PORTS + SPARE_PORTS):
        SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _cdrom(devices: Element, target: str, bus: str, path: str, boot_order: int = 0) -> None:
    element = SubElement(devices, "disk", type="file", device="cdrom")
    SubElement(element, "driver", name="qemu", type="raw")
    SubElement(element, "source", file=path)
    SubElement(element, "target", dev=target, bus=bus)
    SubElement(element, "readonly")
    if boot_order:
        SubElement(element, "boot", order=str(boot_order))


def _nic(devices: Element, nic: DomainNic) -> None:
    element = SubElement(devices, "interface", type="bridge")
    SubElement(element, "mac", address=nic.mac)
    SubElement(element, "source", bridge=nic.bridge)
    SubElement(element, "model", type="virtio")
    # No network boot by surprise: without this the firmware asks every NIC for minutes when no disk boots.
    SubElement(element, "rom", enabled="no")


def _socket(parent: Element, tag: str, path: str) -> Element:
    element = SubElement(parent, tag, type="unix")
    SubElement(element, "source", mode="bind", path=path)
    return element


def _channels(devices: Element, files: GuestFiles) -> None:
    console = _socket(devices, "serial", str(files.console))
    SubElement(console, "log", file=str(files.console_log), append="on")
    SubElement(console, "target", type="isa-serial", port="0")
    for path, name in ((files.ready, READY_CHANNEL), (files.agent, AGENT_CHANNEL)):
        SubElement(_socket(devices, "channel", str(path)), "target", type="virtio", name=name)


def _small_devices(devices: Element, files: GuestFiles) -> None:
    SubElement(SubElement(devices, "graphics", type="vnc"), "listen", type="socket", socket=str(files.vnc))
    SubElement(SubElement(devices, "video"), "model", type="vga", vram="16384", heads="1")
    SubElement(SubElement(devices, "memballoon", model="virtio"), "stats", period="10")
    _text(SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    SubElement(devices, "panic", model="isa")
