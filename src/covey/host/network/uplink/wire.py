"""Frames of our own on a link: where an address is now, and who answers. AF_PACKET sockets, packet(7)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from covey.model.uplink import Address

_ARP, _IPV6 = 0x0806, 0x86DD
_REQUEST = 1
_EVERYBODY = b"\xff" * 6
_NOBODY = b"\0" * 6
_ASK_AGAIN_S = 0.25


def announce(interface: str, mac: str, addresses: Iterable[Address]) -> None:
    """Tell all neighbours that these addresses are behind this MAC, here: gratuitous ARP, unsolicited neighbour advertisements."""
    own = _bytes_of(mac)
    with _link(interface, _ARP) as link:
        for address in addresses:
            if address.family == socket.AF_INET:
                packed = socket.inet_aton(address.local)
                link.send(_arp(own, packed, packed))
            else:
                link.send(_advertisement(own, ipaddress.IPv6Address(address.local)))


def who_answers(interface: str, mac: str, sources: Iterable[str], targets: Iterable[str], within_s: float) -> dict[str, str]:
    """The MAC addresses behind IPv4 addresses on this link, as they answer ARP; those that do not answer are left out. The first of
    `sources` asks; without any, it is asked as from nobody (RFC 5227)."""
    wanted = {socket.inet_aton(target): target for target in targets}
    source = next((socket.inet_aton(one) for one in sources), b"\0" * 4)
    found: dict[str, str] = {}
    if not wanted:
        return found
    own = _bytes_of(mac)
    deadline, asked = time.monotonic() + within_s, 0.0
    with _link(interface, _ARP) as link:
        link.settimeout(_ASK_AGAIN_S / 2)
        while time.monotonic() < deadline and len(found) < len(wanted):
            if time.monotonic() - asked >= _ASK_AGAIN_S:
                asked = time.monotonic()
                for packed in wanted:
                    link.send(_arp(own, source, packed))
            try:
                frame = link.recv(2048)
            except TimeoutError:
                continue
            told = sender_of(frame)
            if told and told[0] != own and told[1] in wanted:
                found[wanted[told[1]]] = told[0].hex(":")
    return found


def sender_of(frame: bytes) -> tuple[bytes, bytes] | None:
    """Who sent an ARP frame: MAC and IPv4 address; None for another frame."""
    if len(frame) < 42 or frame[12:20] != struct.pack("!HHHBB", _ARP, 1, 0x0800, 6, 4):
        return None
    return frame[22:28], frame[28:32]


def _arp(own: bytes, source: bytes, target: bytes) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + own + source + _NOBODY + target
    return _EVERYBODY + own + struct.pack("!H", _ARP) + body


def _advertisement(own: bytes, address: ipaddress.IPv6Address) -> bytes:
    """A neighbour advertisement to all nodes, with the override flag (RFC 4861, 4.4)."""
    everybody = ipaddress.IPv6Address("ff02::1").packed
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address.packed + b"\x02\x01" + own
    pseudo = address.packed + everybody + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + address.packed + everybody
    return bytes.fromhex("333300000001") + own + struct.pack("!H", _IPV6) + header + body


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def _bytes_of(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


@contextmanager
def _link(interface: str, protocol: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)) as link:
        link.bind((interface, protocol))
        yield link
