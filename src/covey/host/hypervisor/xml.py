"""A Domain as libvirt's XML. Pure: the same values give the same text."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from covey.base.errors import BadInput, NotFound, check, require
from covey.host.hypervisor.definition import FORM, Mark, definition_text
from covey.host.hypervisor.file_io import THREADS
from covey.host.hypervisor.places import GuestFiles
from covey.host.storage.protocol import Attachment
from covey.model.domain import READY_CHANNEL, Domain, DomainDisk, DomainNic, tap_of
from covey.model.rawxml import raw_parts

NAMESPACE = "urn:covey:domain:1"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
ALIAS = "ua-"  # libvirt takes device names of ours only with this prefix
SPARE_PORTS = 8  # PCI Express ports left free, so that as many disks and NICs can be added while the guest runs
OWN_PORTS = 3  # virtio-serial, balloon and random numbers
MEMORY_BLOCK = 2 * 2**20  # bytes: what virtio-mem gives and takes at a time
MEMORY_SLACK = 2**30  # of guest addresses, as QEMU begins what is plugged at a whole GiB
LARGEST_DISK_INDEX = 25  # vda .. vdz
IO_THREAD = "1"  # libvirt's number of the one that there is

# An emulated CPU is x86-64-v2 by an AMD: QEMU's plain model, which a machine type pins (a guest keeps its CPU over an upgrade and a
# migration), and what it lacks of that level. Of an Intel such as Nehalem Linux thinks that it has Meltdown, and switches page tables at
# each system call: emulated, small reads from a disk are a third slower by that. `max` means something else in each QEMU.
TCG_CPU, TCG_FEATURES = "qemu64", ("ssse3", "sse4.1", "sse4.2", "popcnt")
# But Linux 6.1, started by UEFI, faults on every emulated AMD before it says a word (seen with Debian's kernel and OVMF, QEMU 7.2).
TCG_UEFI_CPU = "Nehalem"
# The levels of the x86-64 ABI, each by the oldest of QEMU's models that has it all.
LEVELS = {
    "x86-64-v1": "qemu64",
    "x86-64-v2": "Nehalem",
    "x86-64-v3": "Haswell-noTSX",
    "x86-64-v4": "Skylake-Server-noTSX-IBRS",
}
OVMF_CODE, OVMF_VARS = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
CDROM_TARGET, SEED_TARGET = "sda", "sdb"

ElementTree.register_namespace("covey", NAMESPACE)


def render_domain(
    domain: Domain,
    attachments: dict[str, Attachment],
    generation: int,
    job: str,
    files: GuestFiles,
    file_io: str = THREADS,
    form: int = FORM,
) -> str:
    """The XML of `domain`; `file_io` is how QEMU reaches the files of disks. Raises BadInput for an accelerator or index that cannot be,
    NotFound for a volume without attachment."""
    mark = Mark(generation, job, domain, form)
    check(
        domain.accelerator in ("kvm", "tcg"),
        BadInput(f"{domain.accelerator!r} is no accelerator", f"instance {domain.instance}", "use kvm or tcg"),
    )
    root = Element("domain", type="kvm" if domain.accelerator == "kvm" else "qemu")
    _text(root, "name", domain.instance)
    _text(root, "uuid", domain.instance)
    _text(root, "title", printable(domain.title))
    SubElement(root, "metadata").append(mark_element(mark))
    _memory(root, domain)
    _cpus(root, domain)
    if mark.has_io_thread:
        _text(root, "iothreads", IO_THREAD)
    _firmware(root, domain, files)
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
                file_io,
                mark.has_io_thread,
            )
        )
    # Installers of every system find a SATA drive; the kernels of Debian's cloud images have no driver for one, but for virtio's.
    if domain.iso:
        iso = _attachment(f"CD-ROM {domain.iso}", domain.iso, attachments, domain)
        _cdrom(devices, CDROM_TARGET, "sata", iso.path, boot_orders(domain).get("cdrom", 0))
    if domain.seed:
        SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
        _cdrom(devices, SEED_TARGET, "scsi", str(files.seed))
    for nic in sorted(domain.nics, key=lambda known: known.index):
        devices.append(nic_element(domain.instance, nic, boot_orders(domain).get(f"nic/{nic.index}", 0)))
    _channels(devices, files)
    _small_devices(devices, files)
    if spare_memory(domain):
        devices.append(spare_memory_element(domain))
    _add_raw(root, devices, domain)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def mark_element(mark: Mark) -> Element:
    """Covey's <metadata>: one element without children, because libvirt gives its namespace to the outermost only."""
    told = {"generation": str(mark.generation), "job": mark.job, "digest": mark.digest, "form": str(mark.form)}
    element = Element(f"{{{NAMESPACE}}}domain", told)
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
    """The place of a disk among what is booted from, 0 for none: only the first one boots."""
    return boot_orders(domain).get(f"disk/{disk.index}", 0)


def boot_orders(domain: Domain) -> dict[str, int]:
    """What is booted from and in which order: usually the CD-ROM if there is one, then the first disk."""
    things: list[str] = []
    for kind in domain.boot or ("cdrom", "disk"):
        if kind == "cdrom" and domain.iso:
            things.append("cdrom")
        elif kind == "disk" and domain.disks:
            things.append(f"disk/{min(disk.index for disk in domain.disks)}")
        elif kind == "network":
            things += [f"nic/{nic.index}" for nic in sorted(domain.nics, key=lambda known: known.index)]
    return {thing: place for place, thing in enumerate(things, 1)}


def disk_element(
    disk: DomainDisk, attachment: Attachment, boot: int = 0, file_io: str = THREADS, io_thread: bool = True
) -> Element:
    """One disk. cache=none: what the guest flushed is on the medium, and another machine sees it. error_policy=enospace: a full pool
    pauses the guest where it stands in place of handing it errors that would ruin its file system. With an `io_thread` QEMU does not keep the guest's CPUs, screen and
    NICs waiting for its disks, nor these for them."""
    element = Element("disk", type=attachment.kind, device="disk")
    driver = SubElement(
        element,
        "driver",
        name="qemu",
        type=attachment.format,
        cache="none",
        # Linux' native AIO blocks the whole guest where a file must first be given room; a device never must.
        io="native" if attachment.kind == "block" else file_io,
        discard="unmap",
        error_policy="enospace",
    )
    if io_thread:
        driver.set("iothread", IO_THREAD)
    SubElement(element, "source", {"dev" if attachment.kind == "block" else "file": attachment.path})
    SubElement(element, "target", dev=disk_target(disk.index), bus="virtio")
    _text(element, "serial", disk_serial(disk.identity))
    SubElement(element, "alias", name=ALIAS + disk.identity)
    if boot:
        SubElement(element, "boot", order=str(boot))
    return element


def render_disk(disk: DomainDisk, attachment: Attachment, file_io: str = THREADS, io_thread: bool = True) -> str:
    """One disk as virDomainAttachDevice takes it."""
    return ElementTree.tostring(disk_element(disk, attachment, 0, file_io, io_thread), encoding="unicode")


def printable(title: str) -> str:
    """A title that XML and libvirt take: control characters and line ends become U+FFFD."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in title)


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _attachment(what: str, id: str, attachments: dict[str, Attachment], domain: Domain) -> Attachment:
    return require(attachments.get(id), NotFound(f"nothing says how to open {what}", f"instance {domain.instance}"))


def spare_memory(domain: Domain) -> int:
    """Bytes that can be plugged while the guest runs, in whole blocks."""
    return max(0, domain.max_memory - domain.memory) // MEMORY_BLOCK * MEMORY_BLOCK


def spare_memory_element(domain: Domain) -> Element:
    """A virtio-mem device, from which a running guest takes memory block by block and gives it back."""
    element = Element("memory", model="virtio-mem")
    target = SubElement(element, "target")
    for tag, value in (("size", spare_memory(domain)), ("block", MEMORY_BLOCK), ("requested", 0)):
        _text(target, tag, str(value // 1024), unit="KiB")
        if tag == "size":
            _text(target, "node", "0")
    return element


def _memory(root: Element, domain: Domain) -> None:
    spare, own = spare_memory(domain), -(-domain.memory // 1024)
    if spare:
        _text(root, "maxMemory", str(own + (spare + MEMORY_SLACK) // 1024), slots="1", unit="KiB")
    _text(root, "memory", str(own + spare // 1024), unit="KiB")


def _cpus(root: Element, domain: Domain) -> None:
    most = max(domain.cpus, domain.max_cpus)
    _text(root, "vcpu", str(most), **({"current": str(domain.cpus)} if most > domain.cpus else {}))


def _cpu(root: Element, domain: Domain) -> None:
    emulated = TCG_UEFI_CPU if domain.firmware == "uefi" else TCG_CPU
    model = domain.cpu_model or ("host" if domain.accelerator == "kvm" else emulated)
    if model != "host":
        cpu = SubElement(root, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", LEVELS.get(model, model), fallback="forbid")
        for feature in TCG_FEATURES if model == TCG_CPU and not domain.cpu_model else ():
            SubElement(cpu, "feature", policy="require", name=feature)
    elif domain.accelerator == "kvm":
        cpu = SubElement(root, "cpu", mode="host-passthrough", check="none", migratable="on")
    else:
        cpu = SubElement(root, "cpu", mode="maximum", check="none")
    if spare_memory(domain):  # libvirt plugs memory only where there is a NUMA node to plug it into
        most = max(domain.cpus, domain.max_cpus) - 1
        own = str(-(-domain.memory // 1024))
        SubElement(SubElement(cpu, "numa"), "cell", id="0", cpus=f"0-{most}" if most else "0", memory=own, unit="KiB")


def _firmware(root: Element, domain: Domain, files: GuestFiles) -> None:
    """UEFI without Secure Boot, whose variables are a file of the guest's own, made from OVMF's at its first start."""
    os = SubElement(root, "os")
    _text(os, "type", "hvm", arch="x86_64", machine=domain.machine)
    if domain.firmware == "uefi":
        _text(os, "loader", OVMF_CODE, readonly="yes", secure="no", type="pflash")
        _text(os, "nvram", str(files.nvram), template=OVMF_VARS)


def _add_raw(root: Element, devices: Element, domain: Domain) -> None:
    """The administrator's own elements: devices among the devices, the rest at the end."""
    for part in raw_parts(domain.raw_xml):
        if part.tag == "devices":
            devices.extend(part)
        else:
            root.append(part)


def _clock(root: Element) -> None:
    clock = SubElement(root, "clock", offset="utc")
    SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    SubElement(clock, "timer", name="pit", tickpolicy="delay")
    SubElement(clock, "timer", name="hpet", present="no")


def _ports(devices: Element, domain: Domain) -> None:
    """PCI Express takes devices while it runs only in ports that were there from the start."""
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(len(domain.disks) + len(domain.nics) + domain.seed + bool(spare_memory(domain)) + OWN_PORTS + SPARE_PORTS):
        SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _cdrom(devices: Element, target: str, bus: str, path: str, boot_order: int = 0) -> None:
    element = SubElement(devices, "disk", type="file", device="cdrom")
    SubElement(element, "driver", name="qemu", type="raw")
    SubElement(element, "source", file=path)
    SubElement(element, "target", dev=target, bus=bus)
    SubElement(element, "readonly")
    if boot_order:
        SubElement(element, "boot", order=str(boot_order))


def nic_element(instance: str, nic: DomainNic, boot: int = 0) -> Element:
    """One NIC, behind the interface that packet rules know by its name."""
    element = Element("interface", type="bridge")
    SubElement(element, "mac", address=nic.mac)
    SubElement(element, "source", bridge=nic.bridge)
    SubElement(element, "target", dev=tap_of(instance, nic.index))
    SubElement(element, "model", type="virtio")
    SubElement(element, "link", state="up" if nic.up else "down")
    # No network boot by surprise: without this the firmware asks every NIC for minutes when no disk boots.
    if boot:
        SubElement(element, "boot", order=str(boot))
    else:
        SubElement(element, "rom", enabled="no")
    return element


def render_nic(instance: str, nic: DomainNic) -> str:
    """One NIC as virDomainAttachDevice takes it."""
    return ElementTree.tostring(nic_element(instance, nic), encoding="unicode")


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
