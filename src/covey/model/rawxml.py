"""The administrator's own XML: a fragment that is added to a domain as it is."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

from covey.base.errors import BadInput, check

LARGEST_RAW_XML = 64 * 1024
DEEPEST = 32  # libvirt itself needs less; what writes XML goes down by recursion
QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
COMMANDLINE = f"{{{QEMU_NAMESPACE}}}commandline"
# What may stand beside <devices>: nothing of what Covey itself says.
ADDABLE = frozenset(
    {"devices", COMMANDLINE, "memoryBacking", "memtune", "cputune", "blkiotune", "numatune", "iothreads", "sysinfo", "pm", "perf"}
    | {"idmap", "keywrap", "launchSecurity", "resource", "seclabel", f"{{{QEMU_NAMESPACE}}}override"}
    | {f"{{{QEMU_NAMESPACE}}}capabilities", f"{{{QEMU_NAMESPACE}}}deprecation"}
)

ElementTree.register_namespace("qemu", QEMU_NAMESPACE)


def check_raw_xml(text: str) -> None:
    """Raises BadInput for what is no XML, or says what Covey says itself."""
    check(len(text.encode(errors="surrogatepass")) <= LARGEST_RAW_XML, BadInput("is longer than 64 KiB", "raw_xml"))
    for part in raw_parts(text):
        check(
            part.tag in ADDABLE,
            BadInput(
                f"<{part.tag.rpartition('}')[2]}> cannot be added to a domain",
                "raw_xml",
                "what can be: devices, qemu:commandline, cputune, memtune, blkiotune, iothreads, sysinfo and their like",
            ),
        )


def raw_parts(text: str) -> tuple[Element, ...]:
    """The elements of a fragment: one or several in a row, or those within <domain>. Raises BadInput."""
    if not text.strip():
        return ()
    # Without a document type there are no entities, and so nothing that grows when it is read.
    check("<!" not in text.replace("<!--", ""), BadInput("it may hold no document type and no CDATA", "raw_xml"))
    try:
        text.encode()
        root = ElementTree.fromstring(f'<domain xmlns:qemu="{QEMU_NAMESPACE}">{text}</domain>')  # noqa: S314
    except (ParseError, ValueError) as error:
        raise BadInput(
            f"it is not XML: {error}", "raw_xml", "give elements such as <devices>...</devices>, with no <?xml?> before them"
        ) from None
    only = list(root)
    outside = (root.text, *(part.tail for part in only))
    check(not any((text or "").strip() for text in outside), BadInput("there is text outside its elements", "raw_xml"))
    check(_depth_is_sane(root), BadInput(f"its elements are nested more than {DEEPEST} deep", "raw_xml"))
    return tuple(only[0]) if len(only) == 1 and only[0].tag == "domain" else tuple(only)


def _depth_is_sane(root: Element) -> bool:
    level = [root]
    for _ in range(DEEPEST + 1):
        level = [child for element in level for child in element]
    return not level
