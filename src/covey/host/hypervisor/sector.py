"""Boot sectors: guests of 512 bytes, in 16-bit x86 code laid out here without an assembler.

The BIOS loads the sector to 0x7c00 and jumps there, with the drive's number in DL.
"""

from __future__ import annotations

from covey.base.errors import Bug

ORIGIN = 0x7C00
SIZE = 512
SIGNATURE = b"\x55\xaa"

SERIAL_DATA = 0x3F8  # COM1
SERIAL_STATUS = 0x3FD
POWER_CONTROL = 0x604  # PM1a_CNT where SeaBIOS puts it on QEMU's q35
POWER_OFF = 0x2000  # SLP_EN with the sleep type of "soft off"


class Sector:
    """Code under way: pieces of machine code, labels, and references to labels that are filled in at the end."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._references: list[tuple[int, str, str]] = []
        # Some firmware comes in as 07c0:0000; labels mean the same only in segment 0.
        self.refer(b"\xea", "start", "absolute").put(b"\x00\x00")  # ljmp 0:start
        self.label("start").put(b"\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\xfb")  # ax, ds, es, ss = 0; sp = 0x7c00; sti

    def put(self, code: bytes) -> Sector:
        self._code += code
        return self

    def label(self, name: str) -> Sector:
        self._labels[name] = len(self._code)
        return self

    def refer(self, opcode: bytes, name: str, how: str) -> Sector:
        """An instruction that ends with a label: `short` (8 bits from its end), `near` (16 bits from its end), `absolute`."""
        self.put(opcode)
        self._references.append((len(self._code), name, how))
        return self.put(b"\0" if how == "short" else b"\0\0")

    def jump(self, name: str) -> Sector:
        return self.refer(b"\xe9", name, "near")

    def call(self, name: str) -> Sector:
        return self.refer(b"\xe8", name, "near")

    def print(self, name: str) -> Sector:
        """Print the text at label `name`: `texts` must follow."""
        return self.refer(b"\xbe", name, "absolute").call("print")  # mov si, name

    def text(self, name: str, text: bytes) -> Sector:
        return self.label(name).put(text + b"\0")

    def power_off(self) -> Sector:
        return self.put(_out_word(POWER_CONTROL, POWER_OFF))

    def halt(self) -> Sector:
        return self.put(b"\xf4\xeb\xfd")  # hlt, and again after each interrupt

    def serial(self) -> Sector:
        """The routines `print` (the text at SI up to its zero) and `send` (the byte in AL) on the serial port."""
        self.label("print").put(b"\xac\x84\xc0")  # lodsb; test al, al
        self.refer(b"\x74", "printed", "short").call("send").jump("print")  # jz printed
        self.label("printed").put(b"\xc3")  # ret
        self.label("send").put(b"\x52\x50\xba" + _word(SERIAL_STATUS))  # push dx; push ax; mov dx, status
        self.label("busy").put(b"\xec\xa8\x20").refer(b"\x74", "busy", "short")  # in al, dx; test al, 0x20; jz busy
        return self.put(b"\x58\xba" + _word(SERIAL_DATA) + b"\xee\x5a\xc3")  # pop ax; mov dx, data; out dx, al; pop dx; ret

    def finished(self) -> bytes:
        """The whole sector. Raises Bug when it does not fit or a label is missing."""
        code = bytearray(self._code)
        for place, name, how in self._references:
            if name not in self._labels:
                raise Bug(f"no label {name} in a boot sector")
            target = self._labels[name]
            if how == "short":
                distance = target - (place + 1)
                if not -128 <= distance <= 127:
                    raise Bug(f"label {name} is too far away for a short jump")
                code[place : place + 1] = (distance & 0xFF).to_bytes(1)
            else:
                code[place : place + 2] = _word(ORIGIN + target if how == "absolute" else target - (place + 2))
        if len(code) > SIZE - len(SIGNATURE):
            raise Bug(f"a boot sector of {len(code)} bytes does not fit")
        return bytes(code.ljust(SIZE - len(SIGNATURE), b"\0")) + SIGNATURE


def _word(value: int) -> bytes:
    return (value & 0xFFFF).to_bytes(2, "little")


def _out_word(port: int, value: int) -> bytes:
    return b"\xba" + _word(port) + b"\xb8" + _word(value) + b"\xef"  # mov dx, port; mov ax, value; out dx, ax
