"""What Covey writes into a domain about itself: who defined it, from what, and as which start it runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from covey.base.errors import Refused, check
from covey.model.codec import decode, encode
from covey.model.domain import Domain, DomainDisk, DomainNic
from covey.model.rawxml import raw_parts

# How a Domain is said in XML. A release that says it otherwise counts this up: what an older one defined, and what runs since then, is as
# it was said to be, and no other hand's doing; at its next start a guest is defined in the form of today.
FORM = 2
WITHOUT_IO_THREAD = 1  # of marks that name no form


@dataclass(frozen=True, slots=True)
class Mark:
    """Covey's mark on a domain: the start's generation, the defining job's tag, the definition itself, and the form in which the XML says
    it."""

    generation: int
    job: str
    domain: Domain
    form: int = FORM

    @property
    def has_io_thread(self) -> bool:
        return has_io_thread(self.domain, self.form)

    @property
    def digest(self) -> str:
        return digest(self.domain)


def has_io_thread(domain: Domain, form: int) -> bool:
    """Whether the domain's disks are served by a thread of their own. An administrator who asks for such threads by raw XML has also said
    what they are for."""
    return form > WITHOUT_IO_THREAD and not any(part.tag == "iothreads" for part in raw_parts(domain.raw_xml))


def digest(domain: Domain) -> str:
    """Equal digests mean equal definitions."""
    return hashlib.sha256(definition_text(domain).encode()).hexdigest()


def definition_text(domain: Domain) -> str:
    """The definition as one line of ASCII: it must pass through XML unharmed, whatever the title holds."""
    return json.dumps(encode(domain), sort_keys=True, separators=(",", ":"))


def parse_definition(data: dict[str, Any]) -> Domain:
    """Raises BadInput when it is not one."""
    return decode(Domain, data)


def with_disk(domain: Domain, disk: DomainDisk) -> Domain:
    """The definition with `disk` in its place; a disk of the same volume takes the new size. Raises Refused when the index or the
    volume is in use otherwise."""
    others = tuple(known for known in domain.disks if known.index != disk.index)
    before = next((known for known in domain.disks if known.index == disk.index), None)
    check(
        before is None or before.volume.id == disk.volume.id,
        Refused(
            f"disk {disk.index} is another volume already" + (f" ({before.volume.id})" if before else ""),
            f"instance {domain.instance}",
            "detach it first, or use another index",
        ),
    )
    check(
        all(known.volume.id != disk.volume.id for known in others),
        Refused(f"volume {disk.volume.id} is attached as another disk already", f"instance {domain.instance}"),
    )
    return replace(domain, disks=tuple(sorted((*others, disk), key=lambda known: known.index)))


def without_disk(domain: Domain, index: int) -> Domain:
    return replace(domain, disks=tuple(disk for disk in domain.disks if disk.index != index))


def with_nic(domain: Domain, nic: DomainNic) -> Domain:
    """The definition with `nic` in its place; one of the same MAC address takes the new settings. Raises Refused when the index or the
    MAC address is in use otherwise."""
    others = tuple(known for known in domain.nics if known.index != nic.index)
    before = next((known for known in domain.nics if known.index == nic.index), None)
    check(
        before is None or before.mac == nic.mac,
        Refused(
            f"NIC {nic.index} is another one already" + (f" ({before.mac})" if before else ""),
            f"instance {domain.instance}",
            "detach it first, or use another index",
        ),
    )
    check(
        all(known.mac != nic.mac for known in others),
        Refused(f"another NIC of it has {nic.mac} already", f"instance {domain.instance}"),
    )
    return replace(domain, nics=tuple(sorted((*others, nic), key=lambda known: known.index)))


def without_nic(domain: Domain, index: int) -> Domain:
    return replace(domain, nics=tuple(nic for nic in domain.nics if nic.index != index))
