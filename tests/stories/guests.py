"""Boot sectors that only stories need."""

from __future__ import annotations

from covey.host.hypervisor.sector import Sector


def echoing() -> bytes:
    """A guest that says `ready`, then says every byte again that is typed on its serial port."""
    code = Sector()
    code.print("greeting")
    code.label("wait").put(b"\xf4")  # hlt until the next interrupt: the BIOS clock has 18 a second
    code.put(b"\xba\xfd\x03\xec\xa8\x01").refer(b"\x74", "wait", "short")  # mov dx, SERIAL_STATUS; in al, dx; test al, 1; jz wait
    code.put(b"\xba\xf8\x03\xec").call("send").jump("wait")  # mov dx, SERIAL_DATA; in al, dx
    return code.serial().text("greeting", b"ready\n").finished()
