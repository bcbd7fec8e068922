"""How the domain that Covey defines differs from one that virt-install defines, element by element, and why.

Both are taken as libvirt completed them. Passed over is only where libvirt puts devices on their buses, and how it calls them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

PASSED_OVER = ("address", "alias")
# What tells an element from others of its kind: its own attributes, or those of a child.
KEYS = {
    "disk": ("target dev",),
    "channel": ("target name",),
    "controller": ("type", "model"),
    "input": ("type", "bus"),
    "timer": ("name",),
}
NUMBERED = ("index",)  # attributes that only count elements of a kind


@dataclass(frozen=True, slots=True)
class Difference:
    """`place` is a path such as devices/disk vda/driver cache; what there is on either side, "" for nothing."""

    place: str
    covey: str
    virt_install: str

    def __str__(self) -> str:
        return f"{self.place}: Covey {self.covey or 'nothing'}, virt-install {self.virt_install or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is a difference. The texts are patterns, in which * stands for what varies."""

    place: str
    covey: str
    virt_install: str
    why: str

    def explains(self, difference: Difference) -> bool:
        told = (difference.place, difference.covey, difference.virt_install)
        return all(
            fnmatchcase(text, pattern) for text, pattern in zip(told, (self.place, self.covey, self.virt_install), strict=True)
        )


_SLEEP = "A guest may put itself to sleep: Covey shows it as paused, and starting it wakes it."
_SPICE = "Covey shows the screen by VNC on a socket of the guest's own; it has no use for SPICE and what comes with it."
_SEED = "cloud-init's seed, which an instance from an image gets."
_THREAD = "Disks are served by a thread of their own: neither they nor the guest's CPUs, screen and NICs wait for each other."
_CONSOLE = "The console is a socket that many may use one after the other, and what is printed is kept."
REASONS = (
    Reason("title", "*", "", "The user's name for it; the domain itself is named by its UUID."),
    Reason("metadata/domain", "*", "", "Covey's mark: who defined it, from what, as which start it runs."),
    Reason("metadata/libosinfo", "", "*", "virt-install's note of the guest's system, from which it took its defaults."),
    Reason("os/boot", "", "hd", "Covey gives the order by device, as several kinds may boot."),
    Reason("devices/disk vda/boot", "1", "", "The same, said at the device."),
    Reason("cpu/feature", "require *", "", "x86-64-v2, which newer systems insist on."),
    Reason("pm", "", "there", _SLEEP),
    Reason(
        "devices/disk vda/driver cache", "none", "",
        "No second copy in the host's memory, which is promised to guests: what they read is not kept there, what they write goes to the "
        "disk itself. After a flush it is on the medium with both; only with `none` another machine sees it at once.",
    ),
    Reason(
        "devices/disk vda/driver io", "*", "",
        "io_uring where the machine has it: faster than QEMU's usual threads, and unlike `native` never a halt while a file is given room.",
    ),
    Reason("iothreads", "1", "", _THREAD),
    Reason("devices/disk vda/driver iothread", "1", "", _THREAD),
    Reason("devices/disk vda/driver error_policy", "enospace", "", "A full pool pauses the guest in place of handing it errors."),
    Reason("devices/disk vda/driver discard", "unmap", "", "Room that the guest gives back is the pool's again."),
    Reason("devices/disk vda/serial", "*", "", "The guest finds the disk by this name, whatever the order of plugging in."),
    Reason("devices/disk sdb", "file cdrom", "", _SEED),
    Reason("devices/controller scsi virtio-scsi", "there", "", _SEED),
    Reason("devices/controller usb none", "there", "", "No USB: its tablet is polled all the time, which costs an idle guest CPU."),
    Reason("devices/controller usb qemu-xhci", "", "*", "No USB, as above."),
    Reason("devices/input tablet usb", "", "there", "No USB, as above."),
    Reason("devices/redirdev", "", "*", _SPICE),
    Reason("devices/interface/target", "cvt*", "", "The tap's name is known beforehand, so that its packet rules are there before its first packet."),
    Reason("devices/interface/link", "up", "", "libvirt's default, said aloud: a NIC may be without its cable."),
    Reason("devices/interface/rom", "no", "", "No network boot by surprise."),
    Reason("devices/serial type", "unix", "pty", _CONSOLE),
    Reason("devices/serial/source", "*", "", _CONSOLE),
    Reason("devices/serial/log", "*", "", _CONSOLE),
    Reason("devices/console type", "unix", "pty", _CONSOLE),
    Reason("devices/console/source", "*", "", _CONSOLE),
    Reason("devices/console/log", "*", "", _CONSOLE),
    Reason("devices/channel org.covey.ready.0", "unix", "", "By it the guest reports that it is ready."),
    Reason("devices/channel org.qemu.guest_agent.0/source", "*", "", "The agent's socket is where Covey looks for it."),
    Reason("devices/channel com.redhat.spice.0", "", "spicevmc", _SPICE),
    Reason("devices/graphics type", "vnc", "spice", _SPICE),
    Reason("devices/graphics autoport", "", "yes", _SPICE),
    Reason("devices/graphics socket", "*", "", _SPICE),
    Reason("devices/graphics/listen type", "socket", "address", "Nothing listens on the network."),
    Reason("devices/graphics/listen socket", "*", "", "Nothing listens on the network."),
    Reason("devices/graphics/image", "", "off", _SPICE),
    Reason("devices/sound", "", "ich9", "A server has no ears."),
    Reason("devices/audio type", "none", "spice", "A server has no ears."),
    Reason("devices/video/model type", "vga", "virtio", "Every system and installer shows itself on it; a picture of it is seldom looked at."),
    Reason("devices/video/model vram", "16384", "", "libvirt's default for it."),
    Reason("devices/memballoon/stats", "10", "", "What the guest uses of its memory is told every ten seconds."),
    Reason("devices/panic", "isa", "", "A guest's panic is known as a crash."),
)  # fmt: skip


def differences(covey: str, virt_install: str) -> list[Difference]:
    """In what two definitions, as libvirt tells them, differ: sorted by their places."""
    found = _compared("", *(ElementTree.fromstring(text) for text in (covey, virt_install)))  # noqa: S314  (libvirt's own)
    return sorted(found, key=lambda difference: difference.place)


def reason_of(difference: Difference) -> str:
    """Why it is so, "" when nobody has said."""
    return next((reason.why for reason in REASONS if reason.explains(difference)), "")


def _compared(place: str, one: Element, other: Element) -> Iterator[Difference]:
    for name in sorted({*one.keys(), *other.keys()} - {*NUMBERED}):
        if one.get(name) != other.get(name):
            yield Difference(f"{place} {name}".strip(), one.get(name, ""), other.get(name, ""))
    texts = [(element.text or "").strip() for element in (one, other)]
    if texts[0] != texts[1]:
        yield Difference(place, *texts)
    ours, theirs = _children(one), _children(other)
    for key in sorted({*ours, *theirs}):
        below = f"{place}/{key}".lstrip("/")
        mine, its = ours.get(key, []), theirs.get(key, [])
        if not (mine and its):
            yield Difference(below, _summary(mine), _summary(its))
            continue
        if len(mine) != len(its):
            yield Difference(f"{below} times", str(len(mine)), str(len(its)))
        if not below.startswith("devices/controller"):  # beyond kind and number, they differ in their places only
            yield from _compared(below, mine[0], its[0])


def _children(element: Element) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag not in PASSED_OVER:
            told = [_key(child, key) for key in KEYS.get(tag, ())]
            found.setdefault(" ".join(word for word in (tag, *told) if word), []).append(child)
    return found


def _key(element: Element, key: str) -> str:
    child, _, name = key.rpartition(" ")
    holder = element.find(child) if child else element
    return holder.get(name, "") if holder is not None else ""


def _summary(elements: list[Element]) -> str:
    """What there is on the one side only."""
    if not elements:
        return ""
    element = elements[0]
    key = [element.get(name) for name in KEYS.get(element.tag, ())]
    told = [value for name, value in element.items() if name not in NUMBERED and value not in key]
    words = " ".join((*told, (element.text or "").strip())).strip()
    return f"{words or 'there'}{f' x{len(elements)}' if len(elements) > 1 else ''}"
