"""What of a domain's XML is not as Covey rendered it: the trace of a hand at virsh. Pure.

libvirt adds much of its own (addresses, aliases, controllers, defaults), so only what Covey said is looked for; and of devices, that there
are no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from covey.host.hypervisor.definition import FORM, WITHOUT_IO_THREAD, has_io_thread
from covey.host.hypervisor.places import GuestFiles
from covey.host.hypervisor.xml import ALIAS, CDROM_TARGET, render_domain
from covey.host.storage.protocol import Attachment
from covey.model.domain import Domain
from covey.model.rawxml import raw_parts

_LIBVIRTS_OWN = ("controller", "input", "console", "audio")  # that it adds by itself, or that come with others
_KERNELS_OWN = (("driver", "io"),)  # what follows from the machine and not from what is defined
_PASSED_OVER = ("boot", "requested")  # of devices: what plugging in leaves otherwise than a new definition would
_NAMES = {"interface": "a NIC", "memballoon": "the balloon", "rng": "a source of random numbers", "memory": "a memory device"}


def definition_drift(domain: Domain, text: str, files: GuestFiles, form: int = FORM) -> tuple[str, ...]:
    """What of a definition is not as `domain` says in that form, a sentence each."""
    actual = _parsed(text)
    expected = _expected(domain, actual, files, form)
    sentences = [
        _sentence(element, actual.find(element.tag)) for element in expected if element.tag not in ("metadata", "devices")
    ]
    memory, begins_with = actual.findtext("memory"), actual.findtext("currentMemory")
    if begins_with != memory:  # which Covey leaves to libvirt: it is all of it
        sentences.append(f"currentMemory is {begins_with}, not {memory}")
    return (*(sentence for sentence in sentences if sentence), *_devices(domain, expected, actual))


def run_drift(began: Domain, defined: Domain, text: str, files: GuestFiles, form: int = FORM) -> tuple[str, ...]:
    """What a running guest has of devices that neither its beginning, in that form, nor what Covey plugged in since explains."""
    actual = _parsed(text)
    domain = replace(began, disks=defined.disks, nics=defined.nics)
    return tuple(_devices(domain, _expected(domain, actual, files, form), actual))


def _parsed(text: str) -> Element:
    return ElementTree.fromstring(text)  # noqa: S314  (libvirtd wrote it)


def _expected(domain: Domain, actual: Element, files: GuestFiles, form: int) -> Element:
    """What Covey renders, with the sources of disks as they are: where a volume lies is its storage's affair."""
    attachments = {disk.volume.id: Attachment("file", "", disk.volume.format) for disk in domain.disks}
    if domain.iso:
        attachments[domain.iso] = Attachment("file", "", "raw")
    volumes = {disk.identity: disk.volume.id for disk in domain.disks}
    for disk in actual.iterfind("devices/disk"):
        alias, source, driver, target = (disk.find(tag) for tag in ("alias", "source", "driver", "target"))
        if source is None or driver is None:
            continue
        kind = disk.get("type", "file")
        found = Attachment(kind, source.get("dev" if kind == "block" else "file", ""), driver.get("type", ""))
        if alias is not None and alias.get("name", "").startswith(ALIAS):
            identity = alias.get("name", "").removeprefix(ALIAS)
            attachments[volumes.get(identity, identity)] = found
        elif domain.iso and target is not None and target.get("dev") == CDROM_TARGET:
            attachments[domain.iso] = found
    shown = form if has_io_thread(domain, form) else WITHOUT_IO_THREAD  # which follows from the raw XML, too
    return ElementTree.fromstring(render_domain(replace(domain, raw_xml=""), attachments, 0, "", files, form=shown))  # noqa: S314


def _sentence(expected: Element, actual: Element | None) -> str:
    """How an element differs, "" when all that Covey said of it is there."""
    if actual is None:
        return f"<{expected.tag}> is gone"
    for name, value in expected.items():
        if actual.get(name) != value and (expected.tag, name) not in _KERNELS_OWN:
            return f"{expected.tag} {name} is {actual.get(name) or 'gone'}, not {value}"
    said, is_said = (expected.text or "").strip(), (actual.text or "").strip()
    if said and said != is_said:
        return f"{expected.tag} is {is_said or 'gone'}, not {said}"
    for child in expected:
        if child.tag not in _PASSED_OVER and not any(_holds(child, other) for other in actual.iterfind(child.tag)):
            return f"in {expected.tag}: {_sentence(child, actual.find(child.tag))}"
    return ""


def _holds(expected: Element, actual: Element) -> bool:
    return not _sentence(expected, actual)


def _devices(domain: Domain, expected: Element, actual: Element) -> Iterator[str]:
    """Devices that are gone, changed, or that Covey did not define; those of raw XML are the administrator's."""
    spare = [device for device in actual.iterfind("devices/*") if device.tag not in _LIBVIRTS_OWN]
    allowed = Counter(device.tag for part in raw_parts(domain.raw_xml) if part.tag == "devices" for device in part)
    for wanted in expected.iterfind("devices/*"):
        if wanted.tag in _LIBVIRTS_OWN:
            continue
        found = next((device for device in spare if device.tag == wanted.tag and _holds(wanted, device)), None)
        if found is not None:
            spare.remove(found)
            continue
        twin = next((device for device in spare if device.tag == wanted.tag and _name(device) == _name(wanted)), None)
        yield f"{_name(wanted)}: {_sentence(wanted, twin)}" if twin is not None else f"{_name(wanted)} is gone"
        if twin is not None:
            spare.remove(twin)
    for device in spare:
        if not domain.iso and _is_empty_drive(device):
            continue  # a drive whose disc was taken out
        if allowed[device.tag]:
            allowed[device.tag] -= 1
        else:
            yield f"{_name(device)} that Covey did not define"


def _is_empty_drive(device: Element) -> bool:
    """libvirt tells an empty one of a running guest by a source without a file."""
    source = device.find("source")
    return device.get("device") == "cdrom" and (source is None or not source.get("file"))


def _name(device: Element) -> str:
    """A device as people tell it from others of its kind."""
    for path, key in (("target", "dev"), ("mac", "address"), ("target", "name")):
        part = device.find(path)
        if part is not None and part.get(key):
            return f"{_NAMES.get(device.tag, device.tag)} {part.get(key)}"
    return _NAMES.get(device.tag, f"a {device.tag}")
