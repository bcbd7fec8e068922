"""Ethernet frames, written by hand, for what no proper guest would send; and sockets to send them from another network namespace."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from pyroute2.netns import setns

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IP4, IP6, VLAN, LLDP = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88CC
ICMP, TCP, UDP, FRAGMENT, ICMP6, OPTIONS = 1, 6, 17, 44, 58, 60
SYN, ACK, FIN = 2, 16, 1
RA, NS, NA, REDIRECT = 134, 135, 136, 137
OVERRIDE = 1 << 29  # of a neighbour's advertisement


def wire(netns: str, interface: str = "eth0") -> socket.socket:
    """A raw socket on an interface of a namespace, made in a thread that goes there: a namespace is a property of threads."""

    def open() -> socket.socket:
        setns(f"/run/netns/{netns}", flags=0, libc=ctypes.CDLL(None, use_errno=True))
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.bind((interface, 0))
        raw.settimeout(5)
        return raw

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(open).result()


def ether(source: str, type: int, payload: bytes, target: str = BROADCAST) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", type) + payload


def arp(source: str, sender_mac: str, sender: str, target: str, answer: bool = False) -> bytes:
    head = struct.pack("!HHBBH", 1, IP4, 6, 4, 2 if answer else 1)
    return ether(source, ARP, head + mac(sender_mac) + ip(sender) + bytes(6) + ip(target))


def ip4(
    source: str, sender: str, receiver: str, protocol: int, payload: bytes, fragment: int = 0, target: str = BROADCAST
) -> bytes:
    length = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 7, fragment, 64, protocol, 0) + ip(sender) + ip(receiver)
    return ether(source, IP4, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload, target)


def ip6(source: str, sender: str, receiver: str, protocol: int, payload: bytes, target: str = BROADCAST) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + ip(sender) + ip(receiver)
    return ether(source, IP6, head + payload, target)


def udp(port: int, to: int, data: bytes = b"") -> bytes:
    return struct.pack("!HHHH", port, to, 8 + len(data), 0) + data


def tcp(port: int, to: int, flags: int = SYN) -> bytes:
    return struct.pack("!HHIIBBHHH", port, to, 1, 1, 5 << 4, flags, 1000, 0, 0)


def icmp6(type: int, target: str = "::", sender: str = "::", receiver: str = "ff02::1", owner: str = "") -> bytes:
    """A message of neighbour discovery about `target`; with `owner`, one that gives it this MAC address, whatever was known before."""
    flags, option = (OVERRIDE, b"\2\1" + mac(owner)) if owner else (0, b"")
    return _icmp6(type, struct.pack("!I", flags) + ip(target) + option, sender, receiver)


def router_advertisement(sender: str, source: str) -> bytes:
    """To all: "I am a router, for half an hour", with the sender's own MAC address. Linux believes it, unless told not to."""
    head = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    return _icmp6(RA, head + b"\1\1" + mac(source), sender, "ff02::1")


def _icmp6(type: int, rest: bytes, sender: str, receiver: str) -> bytes:
    body = struct.pack("!BBH", type, 0, 0) + rest
    pseudo = ip(sender) + ip(receiver) + struct.pack("!II", len(body), ICMP6)
    return body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]


def options(next: int) -> bytes:
    """A header for the receiver's eyes that says nothing, in front of a `next` one."""
    return struct.pack("!BBBBI", next, 0, 1, 4, 0)


def fragments(next: int, whole: bytes, first: int) -> tuple[bytes, bytes]:
    """What follows two IPv6 headers that share `whole`, of which the first has `first` bytes: a multiple of 8."""
    parts = ((0, 1, whole[:first]), (first, 0, whole[first:]))
    head, tail = (struct.pack("!BBHI", next, 0, offset | more, 7) + part for offset, more, part in parts)
    return head, tail


def vlan(frame: bytes, tag: int = 5) -> bytes:
    return frame[:12] + struct.pack("!HH", VLAN, tag) + frame[12:]


def untagged(frame: bytes) -> bytes:
    """As a raw socket hands it over: the kernel keeps a tag beside the frame."""
    return frame[:12] + frame[16:] if frame[12:14] == VLAN.to_bytes(2, "big") else frame


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total ^ 0xFFFF)
