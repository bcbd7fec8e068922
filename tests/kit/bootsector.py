"""Guests of 512 bytes for tests: they boot in a fraction of a second under TCG with 16 MiB.

On the serial port: `BOOT-OK`, then about five times a second `T` and eight hex digits, a counter that is kept on the disk's second
sector (`E` in place of `T`: the disk refused the write). So one sees that a guest lives, which disk it has, and what of it survived.
"""

from __future__ import annotations

from pathlib import Path

from covey.host.hypervisor.sector import SIZE, Sector

IMAGE_SIZE = 2**20
GREETING = "BOOT-OK"
CLOCK_TICKS = 4  # of the BIOS clock, 18.2 a second
COUNTER = 0x7E00  # where the counter's sector is in memory
POWER_ENABLE = 0x602  # PM1a_EN and PM1a_STS of q35 as SeaBIOS sets it up; bit 8 is the power button
POWER_STATUS = 0x600
UNPLUG_PORTS = 0x0CC0  # q35's ACPI hot-plug registers: +4 what shall go, +8 eject, +16 which bus
UNPLUG_BUSES = 32


def ticking(*, obeys: bool = False, ends_after: int = 0, lets_go: bool = False) -> bytes:
    """The guest's boot sector. `obeys`: it powers off when the power button is pressed. `ends_after`: it powers itself off after so
    many ticks. `lets_go`: it ejects a device when the host asks for it, as an operating system does."""
    code = Sector()
    code.refer(b"\x88\x16", "drive", "absolute")  # mov [drive], dl
    if obeys:
        code.put(b"\xba\x02\x06\xb8\x00\x01\xef")  # mov dx, POWER_ENABLE; mov ax, 0x100; out dx, ax
    code.put(b"\xb4\x42").call("disk")  # read the counter
    code.print("greeting")
    code.put(b"\x66\x31\xed")  # ebp = 0: ticks of this boot
    code.label("tick").put(b"\x66\x45\x66\xff\x06\x00\x7e")  # inc ebp; inc dword [COUNTER]
    code.put(b"\xb8\x00\x43").call("disk")  # write it back
    code.put(b"\xb0T").refer(b"\x73", "written", "short").put(b"\xb0E")  # mov al, 'T'; jnc written; mov al, 'E'
    code.label("written").call("send")
    code.put(b"\x66\x8b\x1e\x00\x7e\xb9\x08\x00")  # mov ebx, [COUNTER]; mov cx, 8
    code.label("digit").put(b"\x66\xc1\xc3\x04\x88\xd8\x24\x0f\x04\x30\x3c\x39")  # rol ebx, 4; al = '0' + low digit; cmp al, '9'
    code.refer(b"\x76", "decimal", "short").put(b"\x04\x27")  # jbe decimal; add al, 39 (a to f)
    code.label("decimal").call("send").refer(b"\xe2", "digit", "short")  # loop digit
    code.put(b"\xb0\n").call("send")
    if ends_after:
        code.put(b"\x66\x81\xfd" + ends_after.to_bytes(4, "little")).refer(b"\x73", "end", "short")  # cmp ebp, n; jae end
    code.put(b"\x8b\x1e\x6c\x04")  # mov bx, [0x46c]: the BIOS clock
    code.label("wait").put(b"\xf4")  # hlt until the next interrupt
    if obeys:
        code.put(b"\xba\x00\x06\xed\xf6\xc4\x01").refer(b"\x75", "end", "short")  # in ax, POWER_STATUS; test ah, 1; jnz end
    code.put(b"\xa1\x6c\x04\x29\xd8\x3d" + CLOCK_TICKS.to_bytes(2, "little"))  # mov ax, [0x46c]; sub ax, bx; cmp ax, CLOCK_TICKS
    code.refer(b"\x72", "wait", "short")  # jb wait
    if lets_go:
        _eject(code)
    code.jump("tick")
    code.label("end").power_off().halt()
    code.label("disk").refer(b"\xbe", "packet", "absolute").refer(
        b"\x8a\x16", "drive", "absolute"
    )  # mov si, packet; mov dl, [drive]
    code.put(b"\xcd\x13\xc3").serial()  # int 0x13; ret
    code.text("greeting", GREETING.encode() + b"\n")
    code.label("packet").put(b"\x10\0\x01\0\x00\x7e\0\0\x01\0\0\0\0\0\0\0")  # one sector, to 0:COUNTER, from LBA 1
    return code.label("drive").put(b"\x80").finished()


def _eject(code: Sector) -> None:
    """Answer the host's wish to unplug: on each bus, eject the slots it marked."""
    code.put(b"\x66\x31\xc9")  # xor ecx, ecx: the bus
    code.label("bus").put(b"\xba\xd0\x0c\x66\x89\xc8\x66\xef")  # out UNPLUG_PORTS + 16, ecx
    code.put(b"\xba\xc4\x0c\x66\xed\x66\x85\xc0").refer(
        b"\x74", "next", "short"
    )  # in eax, UNPLUG_PORTS + 4; test eax, eax; jz next
    code.put(b"\xba\xc8\x0c\x66\xef")  # out UNPLUG_PORTS + 8, eax
    code.label("next").put(b"\x66\x41\x66\x83\xf9" + bytes([UNPLUG_BUSES])).refer(b"\x72", "bus", "short")  # inc ecx; cmp; jb bus


def write_image(path: Path, sector: bytes, size: int = IMAGE_SIZE) -> Path:
    """A raw disk of `size` bytes that boots `sector`. The usual guest user of QEMU may write it."""
    with path.open("wb") as file:
        file.write(sector)
        file.truncate(size)
    path.chmod(0o666)
    return path


def counter(path: Path) -> int:
    """The counter that the guest keeps on its disk."""
    with path.open("rb") as file:
        file.seek(SIZE)
        return int.from_bytes(file.read(4), "little")
