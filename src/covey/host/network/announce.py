"""What tells a wire where an address is now: gratuitous ARP, unsolicited neighbour advertisements, and RARP for a guest without addresses.

A guest keeps its MAC address when it comes to another node, so its neighbours' entries stay right: what is wrong are the switches' tables,
which any frame from it mends. Two entries do become wrong: the guest's own of its gateway, which is another node's bridge now; and, where a
node answers for its guests on an uplink, those of the guest's addresses on that wire."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import Any

_BROADCAST, _ALL_NODES_MAC = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ARP, _RARP, _IPV6 = 0x0806, 0x8035, 0x86DD
_REQUEST, _REVERSE_REQUEST = 1, 3  # RFC 826, RFC 903
_ADVERTISEMENT, _ICMP6, _TARGETS_MAC = 136, 58, 2  # RFC 4861
_OVERRIDE, _FROM_ROUTER = 1 << 29, 1 << 31


def on_bridge(bridge: str, mac: str, addresses: Iterable[str]) -> None:
    """Say on a bridge that a guest's addresses are at its MAC, or, of one without addresses, where that is. Raises OSError."""
    _send(bridge, [said_of(mac, address) for address in addresses] or [reversed_of(mac)])


def to_guest(tap: str, mac: str, gateways: Iterable[str]) -> None:
    """Say to a guest that its gateways are at this MAC. Raises OSError."""
    _send(tap, [said_of(mac, gateway, is_router=True) for gateway in gateways])


def on_uplink(kernel: Any, uplink: int, addresses: Iterable[str]) -> None:
    """Say on the interface with this index that packets for these addresses are for this machine. Raises OSError."""
    link = kernel.get_links(uplink)[0]
    _send(link.get("ifname"), [said_of(link.get("address"), address) for address in addresses])


def said_of(mac: str, address: str, is_router: bool = False) -> bytes:
    """The frame that says that an address is at `mac`."""
    if ":" in address:
        return _advertisement(mac, ipaddress.IPv6Address(address), is_router)
    own = ipaddress.IPv4Address(address).packed
    return _ether(_BROADCAST, mac, _ARP, _arp(_REQUEST, _packed(mac) + own, bytes(6) + own))


def reversed_of(mac: str) -> bytes:
    """The frame that says no more than where a MAC address is."""
    return _ether(_BROADCAST, mac, _RARP, _arp(_REVERSE_REQUEST, _packed(mac) + bytes(4), _packed(mac) + bytes(4)))


def _arp(operation: int, sender: bytes, target: bytes) -> bytes:
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + sender + target


def _advertisement(mac: str, address: ipaddress.IPv6Address, is_router: bool) -> bytes:
    flags = _OVERRIDE | (_FROM_ROUTER if is_router else 0)
    rest = struct.pack("!I", flags) + address.packed + struct.pack("!BB", _TARGETS_MAC, 1) + _packed(mac)
    length = 4 + len(rest)
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", length, _ICMP6)
    body = struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + rest
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, length, _ICMP6, 255) + address.packed + _ALL_NODES.packed
    return _ether(_ALL_NODES_MAC, mac, _IPV6, head + body)


def _ether(to: str, mac: str, type: int, payload: bytes) -> bytes:
    return (_packed(to) + _packed(mac) + struct.pack("!H", type) + payload).ljust(60, b"\0")


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total ^ 0xFFFF)


def _send(interface: str, frames: Iterable[bytes]) -> None:
    """Raises OSError when the interface is down or gone."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((interface, 0))
        for frame in frames:
            raw.send(frame)
