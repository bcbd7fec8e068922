"""A guest's screen: libvirt hands out PPM. Blocking: called on the connection's threads."""

from __future__ import annotations

from typing import Any

import libvirt

from covey.base.errors import Refused, StepFailed, check
from covey.host.hypervisor.orders import failure
from covey.host.hypervisor.png import SIGNATURE, png_of
from covey.host.hypervisor.sighting import must_find

LARGEST = 64 * 2**20  # bytes of a picture without compression: 4096 x 4096 and some


def take(connection: Any, instance: str) -> bytes:
    """The screen of a running guest. Raises NotFound, Refused when it does not run, StepFailed."""
    domain, _ = must_find(connection, instance)
    check(domain.isActive(), Refused("it does not run", f"instance {instance}", "start it first"))
    stream = connection.newStream(0)
    try:
        domain.screenshot(stream, 0, 0)
        picture = _read(stream)
        stream.finish()
    except libvirt.libvirtError as error:
        raise failure(error, "its screen cannot be had", f"instance {instance}") from error
    if picture is None:
        raise StepFailed(f"its screen has more than {LARGEST} bytes", f"instance {instance}")
    return picture if picture.startswith(SIGNATURE) else png_of(picture)


def _read(stream: Any) -> bytes | None:
    """All that comes; None when it is too much."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.recv(2**18):
        size += len(piece)
        if size > LARGEST:
            stream.abort()
            return None
        pieces.append(piece)
    return b"".join(pieces)
